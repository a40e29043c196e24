//! What is measured of a contestant.

mod download;
mod latency;
mod memory;
mod rate;

pub use download::{DOWNLOAD, download};
pub use latency::{P50, P99, latency};
pub use memory::memory;
pub use rate::{RATE, rate};

/// One figure.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// What it is.
    pub metric: &'static str,
    /// In what.
    pub unit: &'static str,
    /// How much.
    pub value: f64,
}
