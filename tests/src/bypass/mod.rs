//! The ways around the proxy, tried from inside a sandbox.
//!
//! `guest/` is a Python program: each attempt with what it is expected to come to. What matters more is told by
//! [`leaks`]: what the servers of the tests' world have received meanwhile.

mod judge;
mod table;

use protocol::types::v1::ProcessSpec;
use serde::Deserialize;

use crate::process::python;

pub use judge::leaks;
pub use table::{expects_the_same, markdown, unexpected};

const BASE: &str = include_str!("guest/base.py");
const RUN: &str = "run_all()\n";

/// Everything but the floods.
pub const ATTEMPTS: &[&str] = &[
    include_str!("guest/addresses.py"),
    include_str!("guest/packets.py"),
    include_str!("guest/names.py"),
    include_str!("guest/hosts.py"),
    include_str!("guest/frames.py"),
    include_str!("guest/http2.py"),
    include_str!("guest/smuggling.py"),
    include_str!("guest/secrets.py"),
];

/// What another sandbox must not feel.
pub const FLOODS: &[&str] = &[
    include_str!("guest/frames.py"),
    include_str!("guest/floods.py"),
];

/// A sandbox that goes on with its work, and says how long each request took.
pub const NEIGHBOUR: &str = include_str!("guest/neighbour.py");

/// One attempt, and what it came to.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// Which kind of attempt.
    pub group: String,
    /// In words.
    pub attempt: String,
    /// What it may come to, with `or` between.
    pub expected: String,
    /// What it came to.
    pub result: String,
    /// How long that took.
    pub seconds: f64,
}

/// A program that makes these attempts.
pub fn program(parts: &[&str]) -> ProcessSpec {
    python(&[&[BASE], parts, &[RUN]].concat().concat())
}

/// What it printed.
pub fn rows(output: &str) -> crate::Result<Vec<Row>> {
    let rows = output.lines().map(serde_json::from_str);
    Ok(rows.collect::<Result<_, _>>()?)
}
