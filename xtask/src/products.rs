//! What the repository builds: programs for a host.

use std::{path::PathBuf, process::Command};

use anyhow::{Result, bail};

use crate::paths;

/// Programs that run on a host, and the crate of each.
const PROGRAMS: &[(&str, &str)] = &[
    ("hostd", "hostd"),
    ("thaw", "hostd"),
    ("vmm", "vmm"),
    ("images", "images"),
];

/// Builds the programs.
///
/// # Errors
/// When cargo fails; it has said why.
pub fn build() -> Result<()> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(paths::checkout())
        .args(["build", "--release"]);
    for (program, package) in PROGRAMS {
        cargo.args(["--package", package, "--bin", program]);
    }
    if !cargo.status()?.success() {
        bail!("the build failed");
    }
    Ok(())
}

/// The programs that are there.
pub fn existing() -> Vec<(String, PathBuf)> {
    let directory = paths::target().join("release");
    PROGRAMS
        .iter()
        .map(|(program, _)| ((*program).to_owned(), directory.join(program)))
        .filter(|(_, path)| path.exists())
        .collect()
}
