//! `cargo xtask bench NAME`

use std::{ffi::OsString, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    deployment::Deployment,
    exec::{self, Call},
    lease::Lease,
    paths, products, progress, snapshot,
};

/// Measure something where VMs can run; print a table and write it as JSON.
#[derive(Args, Debug)]
pub struct Arguments {
    /// What to measure: restore.
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
    let program = format!("bench-{}", arguments.name);
    let products = products::get(arguments.no_build)?;
    products
        .program(&program)
        .context("there is no such bench")?;
    let lease = Lease::take(&products)?;
    let host = &lease.host;
    let deployment = Deployment::new(host, &products)?;
    let snapshots = snapshot::ensure(host, &products, &deployment)?;

    let remote = format!("{}/{program}.json", host.scratch());
    let mut command: Vec<OsString> =
        vec![program.clone().into(), "--json".into(), (&remote).into()];
    command.extend(arguments.arguments);
    let call = Call {
        path: std::slice::from_ref(&deployment.programs),
        variables: &deployment.variables(Some(&snapshots)),
        command: &command,
    };
    let status = exec::run(host, &call)?;
    if status == 0 {
        let file = match arguments.json {
            Some(file) => file,
            None => paths::cache()?.join(format!("{program}.json")),
        };
        let text = host.run(&format!("cat {remote} && rm {remote}"))?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        progress::say(format!("results are in {}", file.display()));
    }
    lease.end()?;
    Ok(ExitCode::from(status))
}
