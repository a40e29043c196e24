//! A small internet for tests and the demo: see `tests::world`.

use std::path::PathBuf;

use clap::Parser;

/// Serves until standard input ends.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the authority's certificate and what the servers see is written.
    directory: PathBuf,
}

fn main() -> tests::Result {
    tests::world::run(&Arguments::parse().directory)
}
