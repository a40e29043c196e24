//! `thaw`, the command line: an ordinary client of `hostd`.
//!
//! Every command is a file of [`commands`]; [`session`] carries the streams of a process,
//! [`client`] reaches hostd, [`error`] says what went wrong and what to do about it.

mod args;
mod client;
mod commands;
mod error;
mod exit;
mod json;
mod output;
mod session;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(usage) => return exit::usage(&usage),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return exit::from(Err(error::Error::Runtime(error))),
    };
    let result = runtime.block_on(commands::dispatch(args));
    // A read of standard input that nobody will answer may not hold up the end.
    runtime.shutdown_background();
    exit::from(result)
}
