//! The system calls and requests that the filters are made of.

/// What every thread needs: locks, memory, its own end.
pub const COMMON: &[i64] = &[
    libc::SYS_futex,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mprotect,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_clock_gettime,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // A thread that panics aborts the process by a signal to itself.
    libc::SYS_tgkill,
    libc::SYS_ioctl,
];

/// A vCPU thread writes to eventfds and the console's pipe. A register write may also reset a device:
/// then its notifications are drained, vsock lets go of its streams, and the network card ends its wait.
pub const VCPU: &[i64] = &[
    libc::SYS_write,
    libc::SYS_read,
    libc::SYS_fcntl,
    libc::SYS_epoll_ctl,
    libc::SYS_shutdown,
    libc::SYS_timerfd_settime,
];

/// The main thread moves data between descriptors that it already has, accepts connections on the one
/// socket, and starts threads: the vCPUs' and those that compress a snapshot.
pub const DEVICE: &[i64] = &[
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_create1,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_fallocate,
    libc::SYS_ftruncate,
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_copy_file_range,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_getsockopt,
    libc::SYS_getrandom,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_sched_getaffinity,
    libc::SYS_clone,
    libc::SYS_prctl,
    libc::SYS_set_tid_address,
    // More filters can only forbid more.
    libc::SYS_seccomp,
];

/// Calls that fail instead of being a violation: the C library makes them on its own account and does
/// without when it must.
pub const ANSWERS: &[(i64, i32)] = &[
    // Its allocator reads the overcommit policy before it shrinks a heap.
    (libc::SYS_open, libc::ENOENT),
    (libc::SYS_openat, libc::ENOENT),
    // Its flags are in memory, where no filter can look; `clone` has them in a register.
    (libc::SYS_clone3, libc::ENOSYS),
];

/// What a call is allowed with.
#[derive(Clone, Copy, Debug)]
pub enum Allowed {
    /// The argument is one of these.
    OneOf(&'static [u64]),
    /// The argument has all of these bits.
    Bits(u64),
    /// The argument is the id of this process: every vmm of a host is the same user.
    OwnProcess,
}

/// Calls that are allowed only with certain arguments: call, position of the argument, what it may be.
pub const ARGUMENTS: &[(i64, u8, Allowed)] = &[
    // Memory is never made executable.
    (libc::SYS_mmap, 2, READ_OR_WRITE),
    (libc::SYS_mprotect, 2, READ_OR_WRITE),
    // Threads, but no processes.
    (libc::SYS_clone, 0, Allowed::Bits(libc::CLONE_THREAD as u64)),
    (libc::SYS_tgkill, 0, Allowed::OwnProcess),
    // Nobody is made to get a signal when a descriptor is ready.
    (
        libc::SYS_fcntl,
        1,
        Allowed::OneOf(&[
            libc::F_DUPFD_CLOEXEC as u64,
            libc::F_GETFD as u64,
            libc::F_SETFD as u64,
            libc::F_GETFL as u64,
            libc::F_SETFL as u64,
        ]),
    ),
    // Threads are named and locked up; nothing else about the process is changed any more.
    (
        libc::SYS_prctl,
        0,
        Allowed::OneOf(&[
            libc::PR_SET_NAME as u64,
            libc::PR_SET_VMA as u64,
            libc::PR_SET_NO_NEW_PRIVS as u64,
        ]),
    ),
];

const READ_OR_WRITE: Allowed = Allowed::OneOf(&[
    libc::PROT_NONE as u64,
    libc::PROT_READ as u64,
    (libc::PROT_READ | libc::PROT_WRITE) as u64,
]);

/// Requests of a machine that is built: running, interrupts, notifications, and reading its state.
pub const IOCTLS: &[u64] = &[
    kvm(0x80, NONE, 0),    // KVM_RUN
    kvm(0xa5, WRITE, 32),  // KVM_SIGNAL_MSI
    kvm(0x79, WRITE, 64),  // KVM_IOEVENTFD
    kvm(0xad, NONE, 0),    // KVM_KVMCLOCK_CTRL
    kvm(0x7c, READ, 48),   // KVM_GET_CLOCK
    kvm(0x62, BOTH, 520),  // KVM_GET_IRQCHIP
    kvm(0x02, BOTH, 4),    // KVM_GET_MSR_INDEX_LIST
    kvm(0x81, READ, 144),  // KVM_GET_REGS
    kvm(0x83, READ, 312),  // KVM_GET_SREGS
    kvm(0x88, BOTH, 8),    // KVM_GET_MSRS
    kvm(0x8e, READ, 1024), // KVM_GET_LAPIC
    kvm(0x98, READ, 4),    // KVM_GET_MP_STATE
    kvm(0x9f, READ, 64),   // KVM_GET_VCPU_EVENTS
    kvm(0xa1, READ, 128),  // KVM_GET_DEBUGREGS
    kvm(0xcf, READ, 4096), // KVM_GET_XSAVE2
    kvm(0xa6, READ, 392),  // KVM_GET_XCRS
    kvm(0xa3, NONE, 0),    // KVM_GET_TSC_KHZ
    libc::FIONBIO,
    libc::FIONREAD,
];

/// Further requests of the thread that runs devices: what the guest's network driver understands.
pub const DEVICE_IOCTLS: &[u64] = &[libc::TUNSETOFFLOAD];

/// Requests that build a machine; forbidden once it is there.
pub const SETUP_IOCTLS: &[u64] = &[
    kvm(0x03, NONE, 0),     // KVM_CHECK_EXTENSION
    kvm(0x46, WRITE, 32),   // KVM_SET_USER_MEMORY_REGION
    kvm(0x41, NONE, 0),     // KVM_CREATE_VCPU
    kvm(0x76, WRITE, 32),   // KVM_IRQFD
    kvm(0x63, READ, 520), // KVM_SET_IRQCHIP, whose direction the kernel declares the wrong way round
    kvm(0x7b, WRITE, 48), // KVM_SET_CLOCK
    kvm(0x82, WRITE, 144), // KVM_SET_REGS
    kvm(0x84, WRITE, 312), // KVM_SET_SREGS
    kvm(0x89, WRITE, 8),  // KVM_SET_MSRS
    kvm(0x8f, WRITE, 1024), // KVM_SET_LAPIC
    kvm(0x90, WRITE, 8),  // KVM_SET_CPUID2
    kvm(0x99, WRITE, 4),  // KVM_SET_MP_STATE
    kvm(0xa0, WRITE, 64), // KVM_SET_VCPU_EVENTS
    kvm(0xa2, WRITE, 128), // KVM_SET_DEBUGREGS
    kvm(0xa5, WRITE, 4096), // KVM_SET_XSAVE
    kvm(0xa7, WRITE, 392), // KVM_SET_XCRS
    kvm(0xa2, NONE, 0),   // KVM_SET_TSC_KHZ
    kvm(0xce, NONE, 0),   // KVM_GET_STATS_FD
    // Whether a tap is one.
    libc::TUNGETIFF,
    libc::TUNGETVNETHDRSZ,
];

const NONE: u64 = 0;
const WRITE: u64 = 1;
const READ: u64 = 2;
const BOTH: u64 = 3;

/// A request number as the kernel's `_IOC` makes it: direction from the program's point of view, size of
/// the argument in bytes, KVM's letter, number.
const fn kvm(number: u64, direction: u64, bytes: u64) -> u64 {
    direction << 30 | bytes << 16 | (kvm_bindings::KVMIO as u64 * 0x100) | number
}

const _: () = assert!(kvm(0x80, NONE, 0) == 0xae80);
const _: () = assert!(kvm(0x46, WRITE, 32) == 0x4020_ae46);
const _: () = assert!(kvm(0x81, READ, 144) == 0x8090_ae81);
