//! Loads, each in a thread of its own: a room is entered for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use futures::future::try_join_all;

use crate::client::Client;
use crate::contestants::Contestant;
use crate::room;

/// Runs a load against a contestant, where its clients are.
pub fn run<T: Send>(
    contestant: &Contestant,
    load: impl AsyncFnOnce() -> tests::Result<T> + Send,
) -> tests::Result<T> {
    let thread = || {
        if let Some(namespace) = contestant.room() {
            room::enter(namespace)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(load())
    };
    std::thread::scope(|scope| scope.spawn(thread).join())
        .map_err(|_| anyhow!("a load panicked"))?
        .map_err(|error| error.context(format!("a load on {}", contestant.name)))
}

/// So many connections, each with a first request behind it: how warm the other end is.
pub async fn connections(contestant: &Contestant, count: usize) -> tests::Result<Vec<Client>> {
    /// Connecting all at once would measure the length of queues.
    const AT_ONCE: usize = 16;
    let mut clients = Vec::with_capacity(count);
    while clients.len() < count {
        let some = AT_ONCE.min(count - clients.len());
        let connecting = (0..some).map(|_| async {
            let mut client = contestant.connector.connect().await?;
            client.ask().await?;
            anyhow::Ok(client)
        });
        clients.extend(try_join_all(connecting).await?);
    }
    Ok(clients)
}

/// All clients ask, each as soon as it has its answer, for so long. How many answers, in which time.
pub async fn busy(clients: Vec<Client>, time: Duration) -> tests::Result<(u64, Duration)> {
    let answers = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let answers = answers.clone();
            tokio::spawn(async move {
                while start.elapsed() < time {
                    client.ask().await?;
                    answers.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in try_join_all(tasks).await? {
        task?;
    }
    Ok((answers.load(Ordering::Relaxed), start.elapsed()))
}
