//! QEMU: the machine's own, or a private copy in the cache.
//!
//! A private copy is Debian's package unpacked in a directory and started by its own dynamic
//! linker. Nothing is installed, so it works without root and beside held packages.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use images::debian::{SUITE, bootstrap};

use crate::cache;

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGES: &[&str] = &["qemu-system-x86", "seabios"];

/// Returns a command that starts QEMU and has no arguments yet.
///
/// # Errors
/// When there is none and none can be fetched.
pub fn command(cache: &Path) -> Result<Command> {
    if let Some(installed) = images::command::find(PROGRAM) {
        return Ok(Command::new(installed));
    }
    let root = cache::entry(cache, "qemu", &[SUITE, &PACKAGES.join(" ")], |directory| {
        Ok(bootstrap::extract(PACKAGES, &[], directory)?)
    })?;
    Ok(private(&root))
}

fn private(root: &Path) -> Command {
    let at = |path: &str| root.join(path);
    let libraries: Vec<PathBuf> = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]
        .into_iter()
        .chain([
            "usr/lib/x86_64-linux-gnu/pulseaudio",
            "usr/lib/x86_64-linux-gnu/blas",
        ])
        .map(at)
        .collect();
    let mut command = Command::new(at("lib64/ld-linux-x86-64.so.2"));
    command
        .arg("--library-path")
        .arg(std::env::join_paths(libraries).unwrap_or_default())
        .arg(at("usr/bin").join(PROGRAM))
        .arg("-L")
        .arg(at("usr/share/qemu"))
        .arg("-L")
        .arg(at("usr/share/seabios"))
        .env("QEMU_MODULE_DIR", at("usr/lib/x86_64-linux-gnu/qemu"));
    command
}
