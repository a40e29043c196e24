//! Signals to process groups and from ended processes, real-time signals included.
#![expect(unsafe_code, reason = "nix knows no real-time signals")]

use nix::errno::Errno;
use nix::unistd::Pid;
use tonic::Status;

use crate::status::invalid;

/// A signal number that Linux has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signal(i32);

impl Signal {
    pub(super) const KILL: Self = Self(libc::SIGKILL);

    /// Validates a number from the wire.
    pub(super) fn new(number: i32) -> Result<Self, Status> {
        match number {
            1..=64 => Ok(Self(number)),
            _ => Err(invalid("signal", "not between 1 and 64")),
        }
    }

    /// Sends it to a whole process group.
    pub(super) fn send_to_group(self, group: Pid) -> Result<(), Errno> {
        // SAFETY: no memory is involved.
        Errno::result(unsafe { libc::killpg(group.as_raw(), self.0) }).map(drop)
    }
}

/// Why a process is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// It exited with this status.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

/// Reaps a child if it has ended.
pub(super) fn reap(pid: Pid) -> Result<Option<Cause>, Errno> {
    // SAFETY: all zeroes is a valid siginfo_t, and it outlives the call. With WNOHANG and nothing to report
    // the kernel leaves the process id at zero; otherwise id and status are those of a child.
    let (ended, code, status) = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let id = pid.as_raw().cast_unsigned();
        Errno::result(libc::waitid(
            libc::P_PID,
            id,
            &raw mut info,
            libc::WEXITED | libc::WNOHANG,
        ))?;
        (info.si_pid() != 0, info.si_code, info.si_status())
    };
    let cause = || {
        if code == libc::CLD_EXITED {
            Cause::Code(status)
        } else {
            Cause::Signal(status)
        }
    };
    Ok(ended.then(cause))
}
