//! One large answer.

use std::time::Instant;

use super::Sample;
use crate::contestants::Contestant;
use crate::load;

const LENGTH: usize = 1 << 30;
const MIB: f64 = (1 << 20) as f64;

/// The metric that contestants are compared by.
pub const DOWNLOAD: &str = "download of 1 GiB";

/// 1 GiB over one connection.
pub fn download(contestant: &Contestant) -> tests::Result<Vec<Sample>> {
    let (time, cpu) = load::run(contestant, async || {
        let mut clients = load::connections(contestant, 1).await?;
        let (start, before) = (Instant::now(), contestant.cpu_time());
        for client in &mut clients {
            client.download(LENGTH).await?;
        }
        let cpu = contestant.cpu_time().zip(before);
        Ok((start.elapsed(), cpu.map(|(after, before)| after - before)))
    })?;
    let mut samples = vec![Sample {
        metric: DOWNLOAD,
        unit: "MiB/s",
        value: LENGTH as f64 / MIB / time.as_secs_f64(),
    }];
    samples.extend(cpu.map(|cpu| Sample {
        metric: "  the proxy's processor time for 1 MiB",
        unit: "µs",
        value: cpu.as_secs_f64() * 1e6 / (LENGTH as f64 / MIB),
    }));
    Ok(samples)
}
