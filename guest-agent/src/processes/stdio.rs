//! A program's descriptors 0, 1 and 2: pipes, `/dev/null`, or one terminal.
#![expect(
    unsafe_code,
    reason = "the ioctls of terminals and pipes, and registering with tokio, have no safe wrapper"
)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Uid, fchown, pipe2};

use super::spec::{Plan, Streams};
use crate::status::PosixError;
use tokio::io::unix::AsyncFd;

nix::ioctl_write_ptr_bad!(set_window_size, libc::TIOCSWINSZ, Winsize);
nix::ioctl_read_bad!(bytes_to_read, libc::FIONREAD, libc::c_int);

/// What the program gets. Closed in the agent once it runs.
pub(super) enum ChildEnds {
    Terminal(OwnedFd),
    /// stdin, stdout, stderr.
    Three([OwnedFd; 3]),
}

/// What the agent keeps; all non-blocking.
#[derive(Default)]
pub(super) struct AgentEnds {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    /// The terminal's master, of which `stdin` and `stdout` are duplicates.
    pub(super) terminal: Option<OwnedFd>,
}

impl ChildEnds {
    /// What becomes 0, 1 and 2. None of them is below 3, because the agent's own three are always open.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 3] {
        match self {
            Self::Terminal(slave) => [slave.as_fd(); 3],
            Self::Three(ends) => ends.each_ref().map(OwnedFd::as_fd),
        }
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }
}

/// Makes both sides.
pub(super) fn make(plan: &Plan) -> Result<(ChildEnds, AgentEnds), PosixError> {
    match plan.streams {
        Streams::Pty(size) => {
            let path = Path::new("/dev/ptmx");
            terminal(&size, plan.account.uid).map_err(PosixError::sys("openpty", path))
        }
        Streams::Pipes {
            stdin,
            stdout,
            stderr,
        } => pipes(stdin, stdout, stderr),
    }
}

fn terminal(size: &Winsize, owner: Uid) -> Result<(ChildEnds, AgentEnds), Errno> {
    let OpenptyResult { master, slave } = openpty(size, None)?;
    for end in [&master, &slave] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    set_nonblocking(&master)?;
    // The program may open its terminal again by name, also when it is not root.
    fchown(&slave, Some(owner), None)?;
    fchmod(&slave, Mode::from_bits_truncate(0o620))?;
    let duplicate = || {
        master
            .try_clone()
            .map_err(|error| crate::status::errno_of(&error))
    };
    let kept = AgentEnds {
        stdin: Some(duplicate()?),
        stdout: Some(duplicate()?),
        stderr: None,
        terminal: Some(master),
    };
    Ok((ChildEnds::Terminal(slave), kept))
}

fn pipes(stdin: bool, stdout: bool, stderr: bool) -> Result<(ChildEnds, AgentEnds), PosixError> {
    let mut kept = AgentEnds::default();
    let child_stdin = if stdin {
        let (read, write) = pipe()?;
        kept.stdin = Some(nonblocking(write)?);
        read
    } else {
        null()?
    };
    let child_stdout = output(stdout, &mut kept.stdout)?;
    let child_stderr = output(stderr, &mut kept.stderr)?;
    Ok((
        ChildEnds::Three([child_stdin, child_stdout, child_stderr]),
        kept,
    ))
}

fn output(piped: bool, kept: &mut Option<OwnedFd>) -> Result<OwnedFd, PosixError> {
    if !piped {
        return null();
    }
    let (read, write) = pipe()?;
    *kept = Some(nonblocking(read)?);
    Ok(write)
}

fn pipe() -> Result<(OwnedFd, OwnedFd), PosixError> {
    pipe2(OFlag::O_CLOEXEC).map_err(PosixError::sys("pipe2", Path::new("pipe")))
}

fn null() -> Result<OwnedFd, PosixError> {
    let path = Path::new("/dev/null");
    let file = File::options().read(true).write(true).open(path);
    file.map(OwnedFd::from)
        .map_err(PosixError::io("open", path))
}

fn nonblocking(end: OwnedFd) -> Result<OwnedFd, PosixError> {
    set_nonblocking(&end).map_err(PosixError::sys("fcntl", Path::new("pipe")))?;
    Ok(end)
}

fn set_nonblocking(end: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL)?);
    fcntl(end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// Tells a terminal its new size; the kernel sends SIGWINCH to its foreground process group.
pub(super) fn resize(terminal: &OwnedFd, size: &Winsize) -> Result<(), Errno> {
    // SAFETY: the size is a valid winsize that outlives the call.
    unsafe { set_window_size(terminal.as_raw_fd(), size) }.map(drop)
}

/// Bytes that wait in a pipe or terminal.
pub(super) fn waiting(end: &OwnedFd) -> io::Result<usize> {
    let mut count = 0;
    // SAFETY: writes one int, which outlives the call.
    unsafe { bytes_to_read(end.as_raw_fd(), &raw mut count) }?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Registers a descriptor with the runtime that this is called in.
pub(super) fn register(end: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open and names the same description until it is dropped, which the AsyncFd does.
    let registered = unsafe { AsyncFd::register(end) };
    registered.map_err(io::Error::from)
}
