//! Which system calls each thread may make. Anything else kills the process.
//!
//! The device thread's filter is also that of the threads it starts to compress a snapshot. vCPU threads
//! start before it is installed and have a much shorter one of their own.

use std::sync::Arc;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use super::JailError;

/// What happens on a forbidden call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnViolation {
    /// The process dies.
    Kill,
    /// The kernel logs it and goes on: for finding out what is missing.
    Log,
    /// No filter at all.
    Ignore,
}

/// A compiled filter.
#[derive(Clone, Debug)]
pub struct Filter(Option<Arc<BpfProgram>>);

impl Filter {
    /// Installs the filter for the calling thread and those that it will start.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn install(&self) -> Result<(), JailError> {
        match &self.0 {
            Some(program) => apply_filter(program).map_err(JailError::Install),
            None => Ok(()),
        }
    }
}

/// The filters of a vmm.
#[derive(Clone, Debug)]
pub struct Filters {
    /// For each vCPU thread.
    pub vcpu: Filter,
    /// For the thread that runs devices and serves requests.
    pub device: Filter,
}

impl Filters {
    /// Compiles both.
    ///
    /// # Errors
    ///
    /// When the rules contradict each other: a mistake in this file.
    pub fn compile(on_violation: OnViolation) -> Result<Self, JailError> {
        let default = match on_violation {
            OnViolation::Kill => SeccompAction::KillProcess,
            OnViolation::Log => SeccompAction::Log,
            OnViolation::Ignore => {
                return Ok(Self {
                    vcpu: Filter(None),
                    device: Filter(None),
                });
            }
        };
        Ok(Self {
            vcpu: compile(VCPU_CALLS, &default)?,
            device: compile(DEVICE_CALLS, &default)?,
        })
    }
}

/// What every thread needs: locks, memory, its own end.
const COMMON_CALLS: &[i64] = &[
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
    libc::SYS_write,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// A vCPU thread runs its vCPU and writes to eventfds and the console's pipe.
const VCPU_CALLS: &[i64] = &[libc::SYS_ioctl];

/// The device thread moves data between descriptors that it already has, accepts connections on the one
/// socket, and starts the threads that compress a snapshot.
const DEVICE_CALLS: &[i64] = &[
    libc::SYS_ioctl,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_ctl,
    libc::SYS_eventfd2,
    libc::SYS_read,
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
    libc::SYS_fcntl,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_getrandom,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_tgkill,
    libc::SYS_sched_getaffinity,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_prctl,
    libc::SYS_set_tid_address,
];

/// Calls that are allowed only with certain arguments: call, argument, allowed values.
const CONDITIONS: &[(i64, u8, &[u64])] = &[
    (libc::SYS_ioctl, 1, IOCTLS),
    // Memory is never made executable.
    (libc::SYS_mmap, 2, &[0, 1, 3]),
    (libc::SYS_mprotect, 2, &[0, 1, 3]),
    // Threads are named; nothing else about the process is changed any more.
    (libc::SYS_prctl, 0, &[libc::PR_SET_NAME as u64, libc::PR_SET_VMA as u64]),
];

/// `KVMIO` calls by number, and what standard library and devices ask of descriptors.
const IOCTLS: &[u64] = &[
    KVM_RUN,
    KVM_IRQ_LINE,
    KVM_SIGNAL_MSI,
    KVM_IOEVENTFD,
    KVM_KVMCLOCK_CTRL,
    KVM_GET_CLOCK,
    KVM_GET_IRQCHIP,
    KVM_GET_MSR_INDEX_LIST,
    KVM_GET_REGS,
    KVM_GET_SREGS,
    KVM_GET_MSRS,
    KVM_GET_LAPIC,
    KVM_GET_CPUID2,
    KVM_GET_MP_STATE,
    KVM_GET_VCPU_EVENTS,
    KVM_GET_DEBUGREGS,
    KVM_GET_XSAVE2,
    KVM_GET_XCRS,
    KVM_GET_TSC_KHZ,
    libc::FIONBIO,
    libc::FIONREAD,
];

const KVM_RUN: u64 = 0xae80;
const KVM_IRQ_LINE: u64 = 0x4008_ae61;
const KVM_SIGNAL_MSI: u64 = 0x4020_aea5;
const KVM_IOEVENTFD: u64 = 0x4040_ae79;
const KVM_KVMCLOCK_CTRL: u64 = 0xaead;
const KVM_GET_CLOCK: u64 = 0x8030_ae7c;
const KVM_GET_IRQCHIP: u64 = 0xc208_ae62;
const KVM_GET_MSR_INDEX_LIST: u64 = 0xc004_ae02;
const KVM_GET_REGS: u64 = 0x8090_ae81;
const KVM_GET_SREGS: u64 = 0x8138_ae83;
const KVM_GET_MSRS: u64 = 0xc008_ae88;
const KVM_GET_LAPIC: u64 = 0x8400_ae8e;
const KVM_GET_CPUID2: u64 = 0xc008_ae91;
const KVM_GET_MP_STATE: u64 = 0x8004_ae98;
const KVM_GET_VCPU_EVENTS: u64 = 0x8040_ae9f;
const KVM_GET_DEBUGREGS: u64 = 0x8080_aea1;
const KVM_GET_XSAVE2: u64 = 0x9000_aecf;
const KVM_GET_XCRS: u64 = 0x8188_aea6;
const KVM_GET_TSC_KHZ: u64 = 0xaea3;

fn compile(calls: &[i64], default: &SeccompAction) -> Result<Filter, JailError> {
    let mut rules = std::collections::BTreeMap::new();
    for &call in COMMON_CALLS.iter().chain(calls) {
        rules.insert(call, conditions(call)?);
    }
    let filter = SeccompFilter::new(
        rules,
        default.clone(),
        SeccompAction::Allow,
        TargetArch::x86_64,
    );
    let program = filter
        .and_then(BpfProgram::try_from)
        .map_err(JailError::Compile)?;
    Ok(Filter(Some(Arc::new(program))))
}

/// One rule for each allowed value; no rule means that the call is allowed as it is.
fn conditions(call: i64) -> Result<Vec<SeccompRule>, JailError> {
    let mut rules = Vec::new();
    for (_, argument, values) in CONDITIONS.iter().filter(|(of, ..)| *of == call) {
        for value in *values {
            let equal = SeccompCondition::new(
                *argument,
                SeccompCmpArgLen::Dword,
                SeccompCmpOp::Eq,
                *value,
            );
            let rule = equal.and_then(|equal| SeccompRule::new(vec![equal]));
            rules.push(rule.map_err(JailError::Compile)?);
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_compile() {
        Filters::compile(OnViolation::Kill).unwrap();
    }
}
