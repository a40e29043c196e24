//! What is measured of a contestant.

mod download;
mod latency;
mod memory;
mod rate;

pub use download::DOWNLOAD;
pub use latency::{P50, P99};
pub use memory::memory;
pub use rate::RATE;

use crate::contestants::Contestant;

/// Measures a contestant under a load.
pub type Measure = fn(&Contestant) -> tests::Result<Vec<Sample>>;

/// What each round measures, by name.
pub const MEASURES: [(&str, Measure); 3] = [
    ("requests", rate::rate),
    ("latency", latency::latency),
    ("download", download::download),
];

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
