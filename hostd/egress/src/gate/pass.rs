//! Passing a connection through, byte for byte.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::Reached;
use super::pipes::{Pipe, Pipes};

/// How much is copied at once where there is no pipe.
const COPIED: usize = 16 << 10;

/// The bytes that went each way.
#[derive(Debug, Default)]
pub(super) struct Meters {
    /// From the guest.
    pub(super) up: AtomicU64,
    /// To the guest.
    pub(super) down: AtomicU64,
}

impl Meters {
    pub(super) fn total(&self) -> (u64, u64) {
        (
            self.up.load(Ordering::Relaxed),
            self.down.load(Ordering::Relaxed),
        )
    }
}

/// Passes the first bytes, and then all others in both directions, until both sides have ended.
/// Each side's end is passed on by itself, so that half-closed connections go on.
///
/// # Errors
/// One side broke off, or nothing moved for `idle`; both are to be reset.
pub(super) async fn pass(
    guest: &TcpStream,
    host: &mut Reached,
    first: &[u8],
    pipes: &Pipes,
    meters: &Meters,
    idle: Duration,
) -> io::Result<()> {
    host.write_all(first).await?;
    meters.up.fetch_add(first.len() as u64, Ordering::Relaxed);
    let host = host.stream();
    let both = async {
        let up = one_way(guest, host, pipes, &meters.up);
        let down = one_way(host, guest, pipes, &meters.down);
        tokio::try_join!(up, down).map(|_| ())
    };
    tokio::select! {
        ended = both => ended,
        () = until_idle(meters, idle) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn one_way(
    from: &TcpStream,
    to: &TcpStream,
    pipes: &Pipes,
    meter: &AtomicU64,
) -> io::Result<()> {
    loop {
        from.readable().await?;
        let moved = match pipes.take() {
            Some(taken) => {
                let moved = splice(&taken.pipe, from, to).await?;
                pipes.give(taken);
                moved
            }
            None => copy(from, to).await?,
        };
        match moved {
            Some(0) => return end(to),
            Some(length) => drop(meter.fetch_add(length as u64, Ordering::Relaxed)),
            None => {}
        }
    }
}

/// Moves what there is through a pipe, and says how much: 0 at the end. Nothing, if there is nothing yet.
async fn splice(pipe: &Pipe, from: &TcpStream, to: &TcpStream) -> io::Result<Option<usize>> {
    let filled = from.try_io(Interest::READABLE, || pipe.fill(from));
    let filled = unless_blocked(filled)?;
    if let Some(length) = filled {
        drain(pipe, to, length).await?;
    }
    Ok(filled)
}

/// The same through memory.
async fn copy(from: &TcpStream, to: &TcpStream) -> io::Result<Option<usize>> {
    let mut bytes = vec![0; COPIED];
    let read = unless_blocked(from.try_read(&mut bytes))?;
    let mut rest = bytes.get(..read.unwrap_or_default()).unwrap_or_default();
    while !rest.is_empty() {
        to.writable().await?;
        let written = unless_blocked(to.try_write(rest))?.unwrap_or_default();
        rest = rest.get(written..).unwrap_or_default();
    }
    Ok(read)
}

fn unless_blocked(moved: io::Result<usize>) -> io::Result<Option<usize>> {
    match moved {
        Ok(length) => Ok(Some(length)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

async fn drain(pipe: &Pipe, to: &TcpStream, mut length: usize) -> io::Result<()> {
    while length > 0 {
        let moved = to
            .async_io(Interest::WRITABLE, || pipe.drain(to, length))
            .await?;
        if moved == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        length = length.saturating_sub(moved);
    }
    Ok(())
}

/// Tells a side that the other one has ended. One that is gone altogether has heard it already.
fn end(side: &TcpStream) -> io::Result<()> {
    match SockRef::from(side).shutdown(Shutdown::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
        ended => ended,
    }
}

async fn until_idle(meters: &Meters, idle: Duration) {
    let mut before = meters.total();
    loop {
        sleep(idle).await;
        let now = meters.total();
        if now == before {
            return;
        }
        before = now;
    }
}
