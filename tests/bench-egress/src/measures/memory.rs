//! What connections cost that are open and quiet.

use super::Sample;
use crate::contestants::Contestant;
use crate::load;

const CONNECTIONS: usize = 1_000;
const MIB: f64 = (1 << 20) as f64;

/// The proxy's memory before, and with so many connections that have had one request each. Nothing of no proxy.
pub fn memory(contestant: &Contestant) -> tests::Result<Vec<Sample>> {
    let Some(before) = contestant.pss() else {
        return Ok(Vec::new());
    };
    let with = load::run(contestant, async || {
        let clients = load::connections(contestant, CONNECTIONS).await?;
        let with = contestant.pss();
        drop(clients);
        Ok(with.unwrap_or_default())
    })?;
    let sample = |metric, bytes: u64| Sample {
        metric,
        unit: "MiB",
        value: bytes as f64 / MIB,
    };
    Ok(vec![
        sample("PSS", before),
        sample("PSS, 1,000 connections open", with),
    ])
}
