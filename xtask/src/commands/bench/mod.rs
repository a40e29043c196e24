//! `cargo xtask bench NAME`

mod on_host;
mod on_network;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use clap::Args;

use crate::{paths, progress};

/// Measure something; print a table and write it as JSON.
#[derive(Args, Debug)]
pub struct Arguments {
    /// What to measure: restore, sdk (where VMs can run), egress (here).
    name: String,
    /// Where the JSON goes [default: bench-NAME.json in the cache].
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Use programs that were built before, whatever the sources say.
    #[arg(long)]
    no_build: bool,
    /// Arguments for the bench itself.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Runs the command.
///
/// # Errors
/// When there is no such bench, or its results cannot be written.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let json = match &arguments.json {
        Some(file) => file.clone(),
        None => paths::cache()?.join(format!("bench-{}.json", arguments.name)),
    };
    let measure = match arguments.name.as_str() {
        "restore" | "sdk" => on_host::run,
        "egress" => on_network::run,
        other => bail!("there is no bench {other:?}; there are restore, sdk and egress"),
    };
    let status = measure(&arguments, &json)?;
    if status == 0 {
        progress::say(format!("results are in {}", json.display()));
    }
    Ok(ExitCode::from(status))
}
