//! Clone and execute.
//!
//! `clone3` gives in one step what would otherwise race: the child is born inside the sandbox's cgroup
//! (`CLONE_INTO_CGROUP`, without the global lock that moving a process takes), its pidfd cannot mean
//! another process, and with `CLONE_VM | CLONE_VFORK` nothing of the agent's memory is copied. The child
//! runs on a stack of its own in the agent's memory until it executes, while this thread waits; so it makes
//! only raw system calls, and reports a failure by writing down which call failed.
#![expect(
    unsafe_code,
    reason = "clone, and what happens between clone and exec, is unsafe by nature"
)]

use std::arch::asm;
use std::ffi::{CStr, CString, c_char, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::ptr;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::signal::Signal;
use super::spec::Plan;
use super::stdio::ChildEnds;
use crate::status::PosixError;

/// The child's stack until it executes. It needs a few hundred bytes.
const STACK_BYTES: usize = 64 << 10;

/// Resets handlers to their defaults; not in libc as an unsigned value.
const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// `struct clone_args`, up to what Linux 5.7 knows.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const _: () = assert!(size_of::<CloneArgs>() == 88);

/// A program that runs.
pub(super) struct Child {
    /// Its process id, which is also its process group and session.
    pub(super) pid: Pid,
    /// Readable when it has ended.
    pub(super) pidfd: OwnedFd,
}

/// Starts the program; blocks until it executes or fails to.
///
/// # Errors
/// The call that failed, in the child or here.
pub(super) fn spawn(
    plan: &Plan,
    ends: &ChildEnds,
    cgroup: Option<BorrowedFd<'_>>,
) -> Result<Child, PosixError> {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings
            .iter()
            .map(|text| text.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (argv, envp) = (pointers(&plan.argv), pointers(&plan.envp));
    let mut orders = Orders {
        stdio: ends.descriptors().map(|end| end.as_raw_fd()),
        terminal: ends.is_terminal(),
        in_cgroup: cgroup.is_some(),
        uid: plan.account.uid.as_raw(),
        gid: plan.account.gid.as_raw(),
        groups: plan.account.groups.iter().map(|gid| gid.as_raw()).collect(),
        cwd: &plan.cwd,
        fall_back_to_root: plan.cwd_is_home,
        candidates: &plan.candidates,
        argv: argv.as_ptr(),
        envp: envp.as_ptr(),
        failure: None,
    };
    let child =
        clone_child(&mut orders, cgroup).map_err(|errno| orders.error(plan, "clone3", errno))?;
    match orders.failure {
        None => Ok(child),
        Some((step, errno)) => {
            let _ = waitid(Id::PIDFd(child.pidfd.as_fd()), WaitPidFlag::WEXITED);
            Err(orders.error(plan, step, errno))
        }
    }
}

/// Kills the process group of a program that nobody will supervise, and reaps the program.
pub(super) fn end(pid: Pid) {
    let _ = Signal::KILL.send_to_group(pid);
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED) == Err(Errno::EINTR) {}
}

/// What the child does, prepared so that it allocates nothing.
struct Orders<'a> {
    stdio: [RawFd; 3],
    terminal: bool,
    /// The child is born in a cgroup of the sandbox's.
    in_cgroup: bool,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    cwd: &'a CStr,
    fall_back_to_root: bool,
    candidates: &'a [CString],
    argv: *const *const c_char,
    envp: *const *const c_char,
    /// Written by the child: the call that failed.
    failure: Option<(&'static str, Errno)>,
}

impl Orders<'_> {
    /// Names what a failed call was about.
    fn error(&self, plan: &Plan, step: &'static str, errno: Errno) -> PosixError {
        let path = match step {
            "chdir" => PathBuf::from(plan.cwd.to_string_lossy().into_owned()),
            _ => PathBuf::from(&plan.program),
        };
        PosixError::new(step, path, errno)
    }

    /// The child's life: each step or the first failure. Only raw system calls: the C library's
    /// wrappers for credentials would signal the agent's other threads.
    fn follow(&self) -> (&'static str, Errno) {
        match self.steps() {
            Ok(()) => ("execve", self.execute()),
            Err(failure) => failure,
        }
    }

    fn steps(&self) -> Result<(), (&'static str, Errno)> {
        let check = |step, result: libc::c_long| match result {
            -1 => Err((step, Errno::last())),
            _ => Ok(()),
        };
        // SAFETY: system calls on descriptors, strings and arrays that the parent keeps alive while it
        // waits. The descriptor table is the child's own copy, so nothing here touches the parent's.
        unsafe {
            check("setsid", libc::syscall(libc::SYS_setsid))?;
            for (target, source) in self.stdio.iter().enumerate() {
                check("dup2", libc::syscall(libc::SYS_dup2, *source, target))?;
            }
            if self.terminal {
                check(
                    "TIOCSCTTY",
                    libc::syscall(libc::SYS_ioctl, 0, libc::TIOCSCTTY, 0),
                )?;
            }
            check(
                "close_range",
                libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0),
            )?;
            // The sandbox's cgroup becomes the root of all that the program sees and may move to. Not a flag of
            // the clone, which would make the parent's cgroup the root.
            if self.in_cgroup {
                check(
                    "unshare",
                    libc::syscall(libc::SYS_unshare, libc::CLONE_NEWCGROUP),
                )?;
            }
            lower_oom_score();
            libc::syscall(libc::SYS_umask, 0o022);
            let (count, groups) = (self.groups.len(), self.groups.as_ptr());
            check(
                "setgroups",
                libc::syscall(libc::SYS_setgroups, count, groups),
            )?;
            check(
                "setresgid",
                libc::syscall(libc::SYS_setresgid, self.gid, self.gid, self.gid),
            )?;
            check(
                "setresuid",
                libc::syscall(libc::SYS_setresuid, self.uid, self.uid, self.uid),
            )?;
            // After the change of user: whether the directory may be entered is a question of who asks.
            if let Err(failure) = check("chdir", libc::syscall(libc::SYS_chdir, self.cwd.as_ptr()))
            {
                if !self.fall_back_to_root {
                    return Err(failure);
                }
                check("chdir", libc::syscall(libc::SYS_chdir, c"/".as_ptr()))?;
            }
            default_signals();
        }
        Ok(())
    }

    /// Tries each candidate as execvp(3) does: what is missing is passed over, and what may not be executed
    /// is remembered. Returns only on failure.
    fn execute(&self) -> Errno {
        let mut failure = Errno::ENOENT;
        for candidate in self.candidates {
            // SAFETY: strings and null-terminated arrays that the parent keeps alive while it waits.
            unsafe { libc::syscall(libc::SYS_execve, candidate.as_ptr(), self.argv, self.envp) };
            match Errno::last() {
                Errno::ENOENT | Errno::ENOTDIR => {}
                Errno::EACCES => failure = Errno::EACCES,
                other => return other,
            }
        }
        failure
    }
}

/// The agent is protected from the kernel's memory killer; programs are not. Where this is not allowed
/// (tests without privileges) there is nothing to lower either.
///
/// # Safety
/// Only in the child: writes through the descriptor table and `/proc/self`.
unsafe fn lower_oom_score() {
    // SAFETY: constant strings; the descriptor is used only when it was opened.
    unsafe {
        let path = c"/proc/self/oom_score_adj".as_ptr();
        let file = libc::syscall(
            libc::SYS_openat,
            libc::AT_FDCWD,
            path,
            libc::O_WRONLY | libc::O_CLOEXEC,
        );
        if file >= 0 {
            libc::syscall(libc::SYS_write, file, c"0".as_ptr(), 1);
            libc::syscall(libc::SYS_close, file);
        }
    }
}

/// Handlers were cleared by the clone; what the agent or its parents ignore would stay ignored, so it is set
/// back, and no signal is blocked. Raw calls, because the C library keeps two signals to itself.
///
/// # Safety
/// Only in the child, whose dispositions are its own.
unsafe fn default_signals() {
    /// `struct sigaction` of the kernel: handler, flags, restorer, mask. All zeroes is the default.
    static DEFAULT: [u64; 4] = [0; 4];
    static NONE: u64 = 0;
    const SET_BYTES: usize = size_of::<u64>();
    let old = ptr::null_mut::<c_void>();
    // SAFETY: constants laid out as the kernel reads them; nothing is written back. KILL and STOP answer
    // EINVAL, which is as well.
    unsafe {
        for signal in 1..=64 {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const DEFAULT,
                old,
                SET_BYTES,
            );
        }
        let set = libc::SIG_SETMASK;
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            set,
            &raw const NONE,
            old,
            SET_BYTES,
        );
    }
}

fn clone_child(orders: &mut Orders<'_>, cgroup: Option<BorrowedFd<'_>>) -> Result<Child, Errno> {
    let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()];
    let mut pidfd: RawFd = -1;
    let shared = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
    let into_cgroup = if cgroup.is_some() {
        CLONE_INTO_CGROUP
    } else {
        0
    };
    let args = CloneArgs {
        flags: u64::from(shared.cast_unsigned()) | CLONE_CLEAR_SIGHAND | into_cgroup,
        pidfd: (&raw mut pidfd).expose_provenance() as u64,
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        stack: stack.as_mut_ptr().expose_provenance() as u64,
        stack_size: STACK_BYTES as u64,
        cgroup: cgroup.map_or(0, |cgroup| u64::from(cgroup.as_raw_fd().cast_unsigned())),
        ..CloneArgs::default()
    };
    // A handler of the agent must not run in the child, which shares its memory.
    let mut before = SigSet::empty();
    pthread_sigmask(
        SigmaskHow::SIG_SETMASK,
        Some(&SigSet::all()),
        Some(&mut before),
    )?;
    // SAFETY: the stack is 16-byte aligned, as large as stated and lives past the call, during which this
    // thread is suspended until the child has executed or exited; `orders` and `pidfd` likewise.
    let result = unsafe { clone_with_entry(&args, run_child, ptr::from_mut(orders).cast()) };
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    drop(stack);
    if result < 0 {
        return Err(Errno::from_raw(i32::try_from(-result).unwrap_or(libc::EIO)));
    }
    let pid = Pid::from_raw(i32::try_from(result).map_err(|_| Errno::EOVERFLOW)?);
    // SAFETY: the kernel stored a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Child { pid, pidfd })
}

/// Entry of the child.
extern "C" fn run_child(orders: *mut c_void) -> ! {
    // SAFETY: `clone_child` passes its exclusive `Orders` and is suspended while this runs.
    let orders = unsafe { &mut *orders.cast::<Orders<'_>>() };
    orders.failure = Some(orders.follow());
    // SAFETY: ends this process alone, without running the agent's exit handlers.
    unsafe {
        libc::syscall(libc::SYS_exit_group, 127);
        libc::_exit(127)
    }
}

/// `clone3` with a function for the child to run; answers the child's id or a negated errno.
///
/// # Safety
/// `args` names a stack that `entry` may run on, and `entry` may touch what `argument` points to; both
/// outlive the child's use of them.
unsafe fn clone_with_entry(
    args: &CloneArgs,
    entry: extern "C" fn(*mut c_void) -> !,
    argument: *mut c_void,
) -> i64 {
    let result: i64;
    // SAFETY: in the parent this is an ordinary system call. The child starts behind `syscall` with rax = 0 on
    // the new stack, keeps r8 and r9, and leaves through `entry`, which does not return.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r9",
            "call r8",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => result,
            in("rdi") args,
            in("rsi") size_of::<CloneArgs>(),
            in("r8") entry,
            in("r9") argument,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_ended_leaves_no_zombie() {
        let mut command = Command::new("sleep");
        let mut child = command.arg("1000").process_group(0).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        end(pid);
        let again = child.wait().unwrap_err();
        assert_eq!(again.raw_os_error(), Some(libc::ECHILD));
    }
}
