//! The egress proxy beside no proxy, mitmproxy and nginx, in one run on one machine.
//!
//! ```text
//!   room                     namespace of the bench                 namespace of the upstream
//!   client ── gate ────────────────┐
//!             client ── nginx ─────┼── veth ── api.thaw.example:443, name server
//!             client ── mitmproxy ─┤
//!             client ──────────────┘
//! ```
//!
//! `cargo xtask bench egress` calls it, in namespaces of networks and of processes that end with it. The client has a
//! core, and so has the proxy; the upstream has the client's where there is no third. Every round measures each
//! contestant in turn, so that what slows the machine down slows all.

/// As hostd has it.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

mod client;
mod contestants;
mod cores;
mod gate;
mod load;
mod measures;
mod room;
mod run;
mod shares;
mod upstream;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tikv_jemallocator::Jemalloc;

/// Measures the egress proxy beside others.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    options: run::Options,
}

/// The processes beside that of the clients.
#[derive(Debug, Subcommand)]
enum Part {
    /// The server that all contestants lead to.
    #[command(hide = true)]
    Upstream {
        /// For the authority's certificate.
        directory: PathBuf,
    },
    /// Our proxy.
    #[command(hide = true)]
    Gate {
        /// Where the upstream has written the authority's certificate.
        directory: PathBuf,
        /// Open TLS and put the secret in, instead of passing it through.
        #[arg(long)]
        open: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.part {
        None => run::run(&arguments.options),
        Some(Part::Upstream { directory }) => upstream::run(directory),
        Some(Part::Gate { directory, open }) => gate::run(directory, *open),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-egress: {error:#}");
            ExitCode::FAILURE
        }
    }
}
