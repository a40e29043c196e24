//! Taking the guest's connections, as many as it may have.

use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::connection::Connections;
use super::refuse::reset;

/// After the system had no descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// The places that connections take.
struct Places {
    rate: DefaultDirectRateLimiter,
    all: Arc<Semaphore>,
    undecided: Arc<Semaphore>,
}

/// Accepts until `closed`; then ends every connection and returns when all are gone.
pub(super) async fn run(
    connections: Arc<Connections>,
    listener: TcpListener,
    closed: CancellationToken,
) {
    let places = Places::new(&connections.shared.limits);
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = closed.cancelled() => break,
        };
        while tasks.try_join_next().is_some() {}
        let Ok((guest, _)) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        connections.counters.accepted();
        match places.take() {
            Some((place, undecided)) => {
                tasks.spawn(serve(connections.clone(), guest, place, undecided));
            }
            None => {
                connections.counters.limited();
                reset(&guest);
            }
        }
    }
    tasks.shutdown().await;
}

async fn serve(
    connections: Arc<Connections>,
    guest: TcpStream,
    place: OwnedSemaphorePermit,
    undecided: OwnedSemaphorePermit,
) {
    // The local end has the address that the guest meant: nobody else has a socket there.
    if let Ok(destination) = guest.local_addr() {
        connections.serve(guest, destination, undecided).await;
    }
    drop(place);
}

impl Places {
    fn new(limits: &Limits) -> Self {
        let quota = Quota::per_second(limits.connections_each_second);
        Self {
            rate: RateLimiter::direct(quota.allow_burst(limits.connections_burst)),
            all: Arc::new(Semaphore::new(limits.connections)),
            undecided: Arc::new(Semaphore::new(limits.undecided)),
        }
    }

    /// A place among all, and one among those that are undecided.
    fn take(&self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        self.rate.check().ok()?;
        let place = self.all.clone().try_acquire_owned().ok()?;
        let undecided = self.undecided.clone().try_acquire_owned().ok()?;
        Some((place, undecided))
    }
}
