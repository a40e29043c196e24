//! The repository's own commands: `cargo xtask --help`.

mod cache;
mod commands;
mod digest;
mod exec;
mod paths;
mod products;
mod progress;
mod tools;
mod virtual_host;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Builds, tests and shows Thaw, on this machine or on a virtual one that can run VMs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", disable_version_flag = true)]
enum Command {
    Host(commands::host::Arguments),
    Down(commands::down::Arguments),
}

fn main() -> ExitCode {
    match run(Command::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Host(arguments) => commands::host::run(arguments),
        Command::Down(arguments) => commands::down::run(arguments),
    }
}
