//! Who speaks first, and what.
//!
//! A client that is silent may be one of a protocol whose server greets it. Only a greeting tells:
//! waiting out the client and taking it for such a one would let it send a hello for any host
//! afterwards, unseen. Servers of TLS and HTTP never greet.

use std::future::pending;
use std::io;
use std::net::SocketAddr;

use thiserror::Error;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::route::{known_as, was_given};
use super::{Reached, Shared};
use crate::audit::Protocol;
use crate::policy::{Host, Target};
use crate::sniff::{SniffError, Sniffer, Spoken};

/// Who spoke first.
pub(super) enum First {
    /// The client; all that it said is in the sniffer.
    Client(Spoken),
    /// The host that its address stands for, which is connected.
    Host { target: Target, host: Reached },
}

/// Why nothing was decided.
#[derive(Debug, Error)]
pub(super) enum FirstError {
    #[error(transparent)]
    Sniff(#[from] SniffError),
    #[error("the client did not say which host it means in time")]
    Slow,
    #[error("the connection ended before it began")]
    Ended(#[from] io::Error),
}

/// Waits for the first bytes. The permit is given back as soon as it is the host who is waited for.
pub(super) async fn first(
    shared: &Shared,
    destination: SocketAddr,
    guest: &mut TcpStream,
    sniffer: &mut Sniffer,
    undecided: OwnedSemaphorePermit,
) -> Result<First, FirstError> {
    let silent = timeout(shared.limits.silence, speaks(guest)).await.is_err();
    if silent && let Some((target, host)) = greeter(shared, destination).await {
        drop(undecided);
        tokio::select! {
            biased;
            spoken = speaks(guest) => spoken?,
            greeted = greets(host.stream()) => {
                greeted?;
                return Ok(First::Host { target, host });
            }
            // As with all quiet connections.
            () = sleep(shared.limits.idle) => return Err(FirstError::Slow),
        }
    }
    said(shared, guest, sniffer).await.map(First::Client)
}

async fn said(
    shared: &Shared,
    guest: &mut TcpStream,
    sniffer: &mut Sniffer,
) -> Result<Spoken, FirstError> {
    let deadline = Instant::now() + shared.limits.first_bytes;
    loop {
        if let Some(spoken) = sniffer.decide()? {
            return Ok(spoken);
        }
        let read = timeout_at(deadline, guest.read_buf(sniffer.buffer())).await;
        if read.map_err(|_| FirstError::Slow)?? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

/// A connection to the host that the address stands for, if there is one.
async fn greeter(shared: &Shared, destination: SocketAddr) -> Option<(Target, Reached)> {
    let target = known_as(shared, destination, Protocol::Tcp).ok()?;
    let host = shared.dial_as(&target, destination).await.ok()?;
    Some((target, host))
}

/// Ends when the client has said something, or ended. Being readable would not do: tokio may say so
/// of a socket that has nothing.
async fn speaks(guest: &TcpStream) -> io::Result<()> {
    guest.peek(&mut [0]).await.map(drop)
}

/// Ends when the host has said something.
async fn greets(host: &TcpStream) -> io::Result<()> {
    match host.peek(&mut [0]).await? {
        // It does not want to speak to a client that says nothing; what the client says later
        // deserves a connection of its own.
        0 => pending().await,
        _ => Ok(()),
    }
}

impl Shared {
    /// Connects to a target: at the guest's own address, where that was given for it.
    pub(super) async fn dial_as(
        &self,
        target: &Target,
        destination: SocketAddr,
    ) -> Result<Reached, super::DialError> {
        match &target.host {
            Host::Name(name) if was_given(self, destination, target) => {
                self.dial_at(name, destination.ip(), target.port).await
            }
            _ => self.dial_target(target).await,
        }
    }
}
