//! `cargo xtask host -- CMD`

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Args;

use crate::{
    deployment::{self, Deployment},
    exec::{self, Call},
    host::Host,
    products, snapshot,
};

/// Run a command where VMs can run: here, or in the virtual host.
///
/// Build products are in its PATH; THAW_BIN, THAW_IMAGES and (with --snapshot) THAW_SNAPSHOTS
/// say where they are. Its working directory is on a disk that is kept with the cache.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Use programs that were built before, whatever the sources say.
    #[arg(long)]
    no_build: bool,
    /// Have the default image's snapshot taken, if it was not.
    #[arg(long)]
    snapshot: bool,
    /// A further file or directory to take along; its programs come first in PATH. May be repeated.
    #[arg(long, value_name = "PATH")]
    with: Vec<PathBuf>,
    /// The command and its arguments.
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Runs the command.
///
/// # Errors
/// When the products cannot be built, or the host cannot be reached.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let products = products::get(arguments.no_build)?;
    let host = Host::ready(&products)?;
    let deployment = Deployment::new(&host, &products)?;
    let mut path = Vec::new();
    if !arguments.with.is_empty() {
        path.push(host.shelve(&deployment::by_name(&arguments.with)?)?);
    }
    path.push(deployment.programs.clone());
    let snapshots = arguments
        .snapshot
        .then(|| snapshot::ensure(&host, &products, &deployment));
    let variables = deployment.variables(snapshots.transpose()?.as_deref());
    let call = Call {
        path: &path,
        variables: &variables,
        command: &arguments.command,
    };
    Ok(ExitCode::from(exec::run(&host, &call)?))
}
