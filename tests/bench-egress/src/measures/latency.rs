//! How long one request takes where no other is in its way.

use std::time::Instant;

use super::Sample;
use crate::contestants::Contestant;
use crate::load;

const REQUESTS: usize = 2_000;

/// Half of the requests take no longer.
pub const P50: &str = "one request, p50";
/// See [`P50`]: 99 of 100.
pub const P99: &str = "one request, p99";

/// One request after the other over one connection.
pub fn latency(contestant: &Contestant) -> tests::Result<Vec<Sample>> {
    let mut times = load::run(contestant, async || {
        let mut times = Vec::with_capacity(REQUESTS);
        for client in &mut load::connections(contestant, 1).await? {
            for _ in 0..REQUESTS {
                let start = Instant::now();
                client.ask().await?;
                times.push(start.elapsed().as_secs_f64() * 1e6);
            }
        }
        Ok(times)
    })?;
    times.sort_by(f64::total_cmp);
    let at = |hundredths: usize| times.get(times.len() * hundredths / 100).copied();
    let sample = |metric, hundredths| Sample {
        metric,
        unit: "µs",
        value: at(hundredths).unwrap_or_default(),
    };
    Ok(vec![sample(P50, 50), sample(P99, 99)])
}
