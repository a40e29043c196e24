//! Moves what a program writes from its pipe or terminal into the outlet.
//!
//! A program's end is not its pipe's: a daemon that it left behind holds the other end open. After the exit the
//! pump therefore reads on only while more comes, see [`QUIET`] and [`PATIENCE`]; then the stream counts as ended
//! and what still comes is thrown away, so that the daemon neither blocks nor dies of SIGPIPE.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::buffer::CHUNK_BYTES;
use super::outlet::{Outlet, Source};
use super::process::Exit;
use super::stdio;

/// After the exit, a stream that has been silent for this long is at its end.
const QUIET: Duration = Duration::from_millis(500);
/// After the exit, a stream that is never silent is at its end when this has passed and all that the pipe
/// held at the exit has been read.
const PATIENCE: Duration = Duration::from_secs(5);

thread_local! {
    /// One buffer per worker thread: reads are short and never suspend, and fifty processes need not hold
    /// a hundred buffers.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK_BYTES]);
}

/// Reads to the end of the stream as defined above. `None` is a stream that is not piped.
pub(super) async fn run(
    end: Option<AsyncFd<OwnedFd>>,
    outlet: &Outlet,
    source: Source,
    exit: watch::Receiver<Option<Exit>>,
) {
    let Some(end) = end else { return };
    let at_end = tokio::select! {
        biased;
        () = read_to_end(&end, outlet, source) => true,
        () = exited(exit) => false,
    };
    let still_open = !at_end && read_rest(&end, outlet, source).await;
    outlet.end(source);
    if still_open {
        tokio::spawn(discard(end));
    }
}

async fn exited(mut exit: watch::Receiver<Option<Exit>>) {
    // The sender goes away only after the exit.
    let _ = exit.wait_for(Option::is_some).await;
}

async fn read_to_end(end: &AsyncFd<OwnedFd>, outlet: &Outlet, source: Source) {
    while read_some(end, outlet, source).await > 0 {
        // The other streams of this worker want to move too.
        tokio::task::coop::consume_budget().await;
    }
}

/// Answers whether someone still holds the other end.
async fn read_rest(end: &AsyncFd<OwnedFd>, outlet: &Outlet, source: Source) -> bool {
    let mut left = stdio::waiting(end.get_ref()).unwrap_or(0);
    let deadline = Instant::now() + PATIENCE;
    loop {
        // A reader that takes its time is not silence of the program.
        outlet.room(source).await;
        match timeout(QUIET, read_some(end, outlet, source)).await {
            Ok(0) => return false,
            Ok(count) => left = left.saturating_sub(count),
            Err(_) => return true,
        }
        if left == 0 && Instant::now() >= deadline {
            return true;
        }
    }
}

/// Reads once, when there is room and data; 0 is the end. Nothing is lost when this is dropped while it waits.
async fn read_some(end: &AsyncFd<OwnedFd>, outlet: &Outlet, source: Source) -> usize {
    let room = outlet.room(source).await;
    read_with(end, room, |data| outlet.push(source, data)).await
}

async fn discard(end: AsyncFd<OwnedFd>) {
    while read_with(&end, CHUNK_BYTES, |_| ()).await > 0 {
        tokio::task::coop::consume_budget().await;
    }
}

/// An error is the end too: a terminal says EIO when its last user is gone.
async fn read_with(end: &AsyncFd<OwnedFd>, room: usize, mut use_data: impl FnMut(&[u8])) -> usize {
    loop {
        let Ok(mut ready) = end.readable().await else {
            return 0;
        };
        let result = ready.try_io(|end| {
            SCRATCH.with_borrow_mut(|scratch| {
                let buffer = scratch.get_mut(..room).ok_or(Errno::EINVAL)?;
                let count = nix::unistd::read(end, buffer)?;
                use_data(buffer.get(..count).ok_or(Errno::EINVAL)?);
                Ok(count)
            })
        });
        match result {
            Ok(Ok(count)) => return count,
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(_)) => return 0,
            Err(_would_block) => {}
        }
    }
}
