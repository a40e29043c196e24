//! Kernel pipes through which a stream's bytes move from socket to socket without being copied.
//!
//! A pipe costs two descriptors and is used only while bytes are in it; connections that are quiet
//! have none. So a few pipes serve thousands of connections. Where many peers do not take what they
//! are sent, all pipes may be in use; the bytes are copied then.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How much moves at once. The kernel gives 64 KiB without asking; with more, a fast stream has fewer wake-ups.
const CAPACITY: usize = 256 << 10;
/// Idle pipes that are kept.
const KEPT: usize = 32;
/// Pipes in use at one moment.
const MOST: usize = 128;

/// The pipes of one sandbox.
#[derive(Debug)]
pub(super) struct Pipes {
    idle: Mutex<Vec<Pipe>>,
    places: Semaphore,
}

impl Default for Pipes {
    fn default() -> Self {
        Self::new(MOST)
    }
}

/// A pipe while it is in use. It is closed when this is dropped, bytes and all, unless it is given back.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    pub(super) pipe: Pipe,
    _place: SemaphorePermit<'a>,
}

/// A pipe, empty unless [`Pipe::fill`] put something in.
#[derive(Debug)]
pub(super) struct Pipe {
    from: OwnedFd,
    to: OwnedFd,
}

impl Pipes {
    /// So many at most.
    pub(super) fn new(most: usize) -> Self {
        Self {
            idle: Mutex::default(),
            places: Semaphore::new(most),
        }
    }

    /// An empty pipe, if there is one to be had.
    pub(super) fn take(&self) -> Option<Taken<'_>> {
        let place = self.places.try_acquire().ok()?;
        let idle = self.lock().pop();
        // Without a descriptor left, it goes without a pipe.
        let pipe = idle.map_or_else(Pipe::new, Ok).ok()?;
        Some(Taken {
            pipe,
            _place: place,
        })
    }

    /// Takes an empty pipe back.
    pub(super) fn give(&self, taken: Taken<'_>) {
        let mut idle = self.lock();
        if idle.len() < KEPT {
            idle.push(taken.pipe);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Pipe>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (from, to) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Past the user's quota of pipe memory the smaller one serves as well.
        let _ = fcntl(
            &to,
            FcntlArg::F_SETPIPE_SZ(CAPACITY.try_into().unwrap_or(i32::MAX)),
        );
        Ok(Self { from, to })
    }

    /// Moves what the socket has into this empty pipe; 0 at the stream's end.
    pub(super) fn fill(&self, socket: impl AsFd) -> io::Result<usize> {
        Ok(splice(socket, None, &self.to, None, CAPACITY, flags())?)
    }

    /// Moves up to `length` bytes of the pipe into the socket.
    pub(super) fn drain(&self, socket: impl AsFd, length: usize) -> io::Result<usize> {
        Ok(splice(&self.from, None, socket, None, length, flags())?)
    }
}

fn flags() -> SpliceFFlags {
    SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK
}
