//! `cargo xtask host -- CMD`

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::{exec, products, virtual_host::VirtualHost};

/// Run a command where VMs can run: here, or in the virtual host.
///
/// Build products are in its PATH, and the default image in $THAW_IMAGES. In the virtual host
/// the working directory is /scratch, a disk that is kept until the cache is removed.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Use what was built before, whatever the sources say.
    #[arg(long)]
    no_build: bool,
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
    let mut sets = Vec::new();
    if !arguments.with.is_empty() {
        sets.push(named(&arguments.with)?);
    }
    if !arguments.no_build {
        products::build()?;
    }
    sets.push(products::existing());
    let host = VirtualHost::start()?;
    exec::run(&host, &sets, &arguments.command)
}

/// Each file under its own name.
fn named(paths: &[PathBuf]) -> Result<Vec<(String, PathBuf)>> {
    paths
        .iter()
        .map(|path| {
            let path = path
                .canonicalize()
                .with_context(|| format!("no {}", path.display()))?;
            let name = path.file_name().context("a directory without a name")?;
            Ok((name.to_string_lossy().into_owned(), path))
        })
        .collect()
}
