//! `images`: builds images, checks them, and takes snapshots of what they boot to.

mod cli;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Builds images of Debian packages, and snapshots of images.
#[derive(Debug, Parser)]
#[command(name = "images", version)]
enum Command {
    Build(cli::build::Arguments),
    Snapshot(cli::snapshot::Arguments),
    Verify(cli::verify::Arguments),
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("images: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Build(arguments) => cli::build::run(&arguments),
        Command::Snapshot(arguments) => wait_for(cli::snapshot::run(&arguments)),
        Command::Verify(arguments) => cli::verify::run(&arguments),
    }
}

/// Waits for what talks to hostd: one connection needs one thread.
fn wait_for(work: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}
