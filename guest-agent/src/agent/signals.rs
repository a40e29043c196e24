//! Signals that are not meant for the agent.
//!
//! The guest's root may say `kill -TERM -1` and mean its own programs. PID 1 is spared by the kernel; the agent
//! is an ordinary process, and would die. Programs start with default dispositions: see `processes::spawn`.
#![expect(
    unsafe_code,
    reason = "the C library keeps two real-time signals to itself, which would kill as well"
)]

use std::ptr;

/// What keeps its disposition, besides SIGKILL and SIGSTOP which the kernel does not let go.
const KEPT: [libc::c_int; 3] = [
    // Ignored, it would reap the programs by itself and their statuses would be lost.
    libc::SIGCHLD,
    // The standard library tells a stack overflow by these.
    libc::SIGSEGV,
    libc::SIGBUS,
];

/// Ignores every signal that can be ignored. A fault of the agent's own ends it all the same: the kernel does not
/// let a process ignore those. Called before there are threads.
pub fn ignore_signals() {
    /// `struct sigaction` of the kernel: handler, flags, restorer, mask.
    static IGNORE: [u64; 4] = [libc::SIG_IGN as u64, 0, 0, 0];
    for signal in (1..=64).filter(|signal| !KEPT.contains(signal)) {
        // SAFETY: a constant laid out as the kernel reads it; nothing is written back. SIGKILL and SIGSTOP
        // answer EINVAL.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const IGNORE,
                ptr::null_mut::<libc::c_void>(),
                size_of::<u64>(),
            );
        }
    }
}
