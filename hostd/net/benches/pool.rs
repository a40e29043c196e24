//! How long a sandbox waits for its network: taken from the pool, and made on the spot.
//!
//! `cargo bench -p net`, as root. Networks are let go of outside of what is timed.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use net::{Network, Pool};

/// Networks that are ready when a batch begins.
const READY: usize = 16;

fn from_the_pool(criterion: &mut Criterion) {
    let pool = Pool::new(READY).unwrap();
    criterion.bench_function("from the pool", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| take(&pool)).sum());
    });
}

/// Takes one when the pool is full, as it is when sandboxes come one after the other.
fn take(pool: &Pool) -> Duration {
    while pool.ready() < READY {
        std::thread::sleep(Duration::from_millis(1));
    }
    let start = Instant::now();
    let network = pool.take().unwrap();
    let took = start.elapsed();
    drop(network);
    took
}

fn made(criterion: &mut Criterion) {
    criterion.bench_function("made on the spot", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| make()).sum());
    });
}

fn make() -> Duration {
    let start = Instant::now();
    let network = Network::make().unwrap();
    let took = start.elapsed();
    drop(network);
    took
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(5));
    targets = from_the_pool, made
}
criterion_main!(benches);
