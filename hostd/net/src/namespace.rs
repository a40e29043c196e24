//! A network namespace without a name.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use crate::dropped::Dropped;
use crate::error::{During, Error, Step};

/// A network namespace of one sandbox. It has no name and no process: it lives as long as this value, its
/// tap or one of its sockets does, and the kernel takes it away with the last of them, however they end.
#[derive(Debug)]
pub struct Namespace(OwnedFd);

impl Namespace {
    /// Makes a namespace and does `work` in it, with the namespace as its argument.
    ///
    /// A thread that is inside a namespace keeps it alive, and nothing else that this thread does may happen
    /// there, so it is a thread for the purpose, and the caller's never leaves its own.
    pub(crate) fn make<T: Send>(
        work: impl FnOnce(Self) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        in_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(io::Error::from)
                .during(Step::Namespace)?;
            let file = File::open("/proc/thread-self/ns/net").during(Step::Namespace)?;
            work(Self(file.into()))
        })
    }

    /// Does `work` inside, on a thread for the purpose.
    ///
    /// # Errors
    /// As `work`, and when the namespace cannot be entered.
    pub fn enter<T: Send>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        in_a_thread(|| {
            setns(&self.0, CloneFlags::CLONE_NEWNET)
                .map_err(io::Error::from)
                .during(Step::Enter)?;
            work()
        })
    }

    /// What was dropped since the namespace was made.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub fn dropped(&self) -> Result<Dropped, Error> {
        self.enter(Dropped::read)
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn in_a_thread<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("network".to_owned())
            .spawn_scoped(scope, work)
            .during(Step::Thread)?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
