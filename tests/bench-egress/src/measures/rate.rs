//! Requests each second, and what one costs the proxy.

use std::time::Duration;

use super::Sample;
use crate::contestants::Contestant;
use crate::load;

/// As a busy sandbox has.
const CONNECTIONS: usize = 64;
const TIME: Duration = Duration::from_secs(2);

/// The metric that contestants are compared by.
pub const RATE: &str = "requests each second, 64 connections";

/// Small requests over connections that are kept.
pub fn rate(contestant: &Contestant) -> tests::Result<Vec<Sample>> {
    let (answers, time, cpu) = load::run(contestant, async || {
        let clients = load::connections(contestant, CONNECTIONS).await?;
        let before = contestant.cpu_time();
        let (answers, time) = load::busy(clients, TIME).await?;
        let cpu = contestant.cpu_time().zip(before);
        Ok((answers, time, cpu.map(|(after, before)| after - before)))
    })?;
    let mut samples = vec![Sample {
        metric: RATE,
        unit: "1/s",
        value: answers as f64 / time.as_secs_f64(),
    }];
    samples.extend(cpu.map(|cpu| Sample {
        metric: "  the proxy's processor time for one",
        unit: "µs",
        value: cpu.as_secs_f64() * 1e6 / answers.max(1) as f64,
    }));
    Ok(samples)
}
