//! Programs of others that a bench compares ours with, kept in the cache. They are unpacked and not installed:
//! installing nginx would start a web server on this machine.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use images::command;

use crate::{cache, paths, tools};

/// Changes when they are unpacked differently.
const VERSION: &str = "1";

/// Runs mitmproxy from the packages beside it.
const MITMDUMP: &str = r#"#!/bin/sh
PYTHONPATH="$(dirname "$0")/packages" exec python3 -c "from mitmproxy.tools.main import mitmdump; mitmdump()" "$@"
"#;

/// Where they are.
#[derive(Debug)]
pub struct Rivals {
    /// Debian's nginx.
    pub nginx: PathBuf,
    /// mitmproxy's program without a screen, from PyPI.
    pub mitmdump: PathBuf,
}

/// Returns them, fetched if need be.
///
/// # Errors
/// When packages cannot be had.
pub fn get() -> Result<Rivals> {
    tools::ensure(tools::UNPACKING)?;
    let cache = paths::cache()?;
    let _lock = cache::lock(&cache)?;
    let nginx = cache::entry(&cache, "nginx", &[VERSION], unpack_nginx)?;
    let mitmproxy = cache::entry(&cache, "mitmproxy", &[VERSION], unpack_mitmproxy)?;
    Ok(Rivals {
        nginx: nginx.join("usr/sbin/nginx"),
        mitmdump: mitmproxy.join("mitmdump"),
    })
}

fn unpack_nginx(directory: &Path) -> Result<()> {
    tools::download("nginx", directory)?;
    let package = fs::read_dir(directory)?
        .next()
        .context("apt-get downloaded nothing")??;
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(package.path()).arg(directory);
    command::run(&mut unpack)?;
    Ok(fs::remove_file(package.path())?)
}

fn unpack_mitmproxy(directory: &Path) -> Result<()> {
    tools::fetch_python("mitmproxy", &directory.join("packages"))?;
    let program = directory.join("mitmdump");
    fs::write(&program, MITMDUMP)?;
    Ok(fs::set_permissions(
        program,
        fs::Permissions::from_mode(0o755),
    )?)
}
