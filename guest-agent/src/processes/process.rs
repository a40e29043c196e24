//! One program, running or ended.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::pty::Winsize;
use nix::unistd::Pid;
use protocol::types::v1 as wire;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::outlet::Outlet;
use super::signal::{self, Cause, Signal};
use super::stdio;

/// End of transmission: what closes the input of a program on a terminal, whose descriptor cannot be closed for
/// one direction.
const END_OF_TRANSMISSION: u8 = 0x04;

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exit {
    cause: Cause,
    timed_out: bool,
}

/// The agent's end of a program's input.
pub(super) enum Stdin {
    /// It was started without.
    None,
    Open(AsyncFd<OwnedFd>),
    /// The client closed it.
    Closed,
    /// The program closed it: what still comes for it is dropped, as a shell would.
    Broken,
}

/// What the program was started as; never changes.
pub(super) struct Description {
    pub(super) pid: Pid,
    pub(super) program: String,
    pub(super) args: Vec<String>,
    pub(super) started_at: SystemTime,
    pub(super) pty: bool,
    pub(super) kill_on_disconnect: bool,
}

/// One program.
pub(super) struct Process {
    pub(super) description: Description,
    pub(super) outlet: Outlet,
    /// Held while one piece is written, so pieces of two attachments never mix.
    pub(super) stdin: tokio::sync::Mutex<Stdin>,
    terminal: Mutex<Option<OwnedFd>>,
    /// Held while signalling and while reaping: a number is not signalled after it is free again.
    reaping: Mutex<()>,
    timed_out: Mutex<bool>,
    exit: watch::Sender<Option<Exit>>,
}

impl Process {
    pub(super) fn new(
        description: Description,
        outlet: Outlet,
        stdin: Stdin,
        terminal: Option<OwnedFd>,
    ) -> Self {
        Self {
            description,
            outlet,
            stdin: tokio::sync::Mutex::new(stdin),
            terminal: Mutex::new(terminal),
            reaping: Mutex::new(()),
            timed_out: Mutex::new(false),
            exit: watch::Sender::new(None),
        }
    }

    pub(super) fn number(&self) -> u32 {
        self.description.pid.as_raw().cast_unsigned()
    }

    /// How it ended, if it has.
    pub(super) fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Sees the end come.
    pub(super) fn watch_exit(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.subscribe()
    }

    /// Signals the process group.
    ///
    /// # Errors
    /// ESRCH when the program has ended.
    pub(super) fn signal(&self, signal: Signal) -> Result<(), Errno> {
        let _reaping = lock(&self.reaping);
        if self.exit().is_some() {
            return Err(Errno::ESRCH);
        }
        signal.send_to_group(self.description.pid)
    }

    /// Kills the process group because its time is up.
    pub(super) fn time_out(&self) {
        *lock(&self.timed_out) = true;
        let _ = self.signal(Signal::KILL);
    }

    /// Collects the exit status; `false` when it has not ended.
    pub(super) fn reap(&self) -> bool {
        let _reaping = lock(&self.reaping);
        let cause = match signal::reap(self.description.pid) {
            Ok(Some(cause)) => cause,
            Ok(None) | Err(Errno::EINTR) => return false,
            // Not our child: nobody else reaps, but if it were so, waiting again would never succeed.
            Err(_) => Cause::Signal(libc::SIGKILL),
        };
        let timed_out = *lock(&self.timed_out) && cause == Cause::Signal(libc::SIGKILL);
        self.exit.send_replace(Some(Exit { cause, timed_out }));
        self.outlet.wake();
        true
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// ENOTTY when it has none.
    pub(super) fn resize(&self, size: &Winsize) -> Result<(), Errno> {
        match (&*lock(&self.terminal), self.description.pty) {
            (Some(terminal), _) => stdio::resize(terminal, size),
            (None, true) => Ok(()), // it has just ended
            (None, false) => Err(Errno::ENOTTY),
        }
    }

    /// Closes the program's input.
    pub(super) async fn close_stdin(&self) {
        let mut stdin = self.stdin.lock().await;
        if let Stdin::Open(end) = &*stdin {
            if self.description.pty {
                let _ = super::input::write_all(end, &[END_OF_TRANSMISSION]).await;
            }
            *stdin = Stdin::Closed;
        }
    }

    /// Closes what the agent still holds of a program that has ended.
    pub(super) async fn release(&self) {
        lock(&self.terminal).take();
        let mut stdin = self.stdin.lock().await;
        if matches!(&*stdin, Stdin::Open(_)) {
            *stdin = Stdin::Broken;
        }
    }

    /// For the wire.
    pub(super) fn info(&self) -> wire::ProcessInfo {
        let description = &self.description;
        wire::ProcessInfo {
            pid: self.number(),
            program: description.program.clone(),
            args: description.args.clone(),
            started_at: Some(description.started_at.into()),
            attached: self.outlet.is_attached(),
            pty: description.pty,
            exit: self.exit().map(wire::ExitStatus::from),
        }
    }
}

impl From<Exit> for wire::ExitStatus {
    fn from(exit: Exit) -> Self {
        let status = match exit.cause {
            Cause::Code(code) => wire::exit_status::Status::Code(code),
            Cause::Signal(signal) => wire::exit_status::Status::Signal(signal),
        };
        Self {
            status: Some(status),
            timed_out: exit.timed_out,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
