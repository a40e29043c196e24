//! The agent as the host sees it: its four services over a real connection, on a machine that only records.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod barrier;
mod errors;
mod files;
mod freezer;
mod harness;
mod ports;
mod processes;
mod signals;
mod streams;
mod terminal;
