//! Kernel pipes through which a stream's bytes move from socket to socket without being copied.
//!
//! A pipe costs two descriptors and is used only while bytes are in it; connections that are quiet
//! have none. So a few pipes serve thousands of connections.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::unistd::pipe2;

/// How much moves at once. The kernel gives 64 KiB without asking; with more, a fast stream has fewer wake-ups.
const CAPACITY: usize = 256 << 10;
/// Idle pipes that are kept. More are made when more streams are busy at one moment.
const KEPT: usize = 32;

/// The idle pipes of one sandbox.
#[derive(Debug, Default)]
pub(super) struct Pipes(Mutex<Vec<Pipe>>);

/// A pipe, empty unless [`Pipe::fill`] put something in.
#[derive(Debug)]
pub(super) struct Pipe {
    from: OwnedFd,
    to: OwnedFd,
}

impl Pipes {
    /// An empty pipe.
    pub(super) fn take(&self) -> io::Result<Pipe> {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(Pipe::new, Ok)
    }

    /// Takes an empty pipe back.
    pub(super) fn give(&self, pipe: Pipe) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT {
            idle.push(pipe);
        }
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
