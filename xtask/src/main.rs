//! The repository's own commands: `cargo xtask --help`.

mod cache;
mod cargo;
mod commands;
mod deployment;
mod digest;
mod doors;
mod exec;
mod host;
mod lease;
mod paths;
mod products;
mod progress;
mod service;
mod snapshot;
mod tally;
mod tools;
mod virtual_host;
mod world;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// Builds, tests and shows Thaw, on this machine or on a virtual one that can run VMs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", disable_version_flag = true)]
enum Command {
    Demo(commands::demo::Arguments),
    Test(commands::test::Arguments),
    Up(commands::up::Arguments),
    Down(commands::down::Arguments),
    Host(commands::host::Arguments),
    Bench(commands::bench::Arguments),
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
        Command::Demo(arguments) => commands::demo::run(arguments),
        Command::Test(arguments) => commands::test::run(arguments),
        Command::Up(arguments) => commands::up::run(arguments),
        Command::Down(arguments) => commands::down::run(arguments),
        Command::Host(arguments) => commands::host::run(arguments),
        Command::Bench(arguments) => commands::bench::run(arguments),
    }
}
