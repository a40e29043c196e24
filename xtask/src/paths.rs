//! Where things are: the checkout, the cache, and the short-lived files of a running host.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::digest;

/// Names a cache directory outside the checkout, for example one that CI keeps between runs.
pub const CACHE_VARIABLE: &str = "THAW_CACHE";

/// The root of the checkout.
pub fn checkout() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| checkout().join("target"), PathBuf::from)
}

/// Where everything that is built and may be built again is kept: `$THAW_CACHE`, or
/// `target/thaw` in the checkout.
///
/// # Errors
/// When the directory cannot be made.
pub fn cache() -> Result<PathBuf> {
    let directory = std::env::var_os(CACHE_VARIABLE)
        .map_or_else(|| checkout().join("target/thaw"), PathBuf::from);
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make the cache directory {}", directory.display()))?;
    Ok(directory.canonicalize()?)
}

/// A directory for sockets, one per cache directory and user.
///
/// # Errors
/// When the directory cannot be made, or belongs to somebody else.
pub fn runtime(cache: &Path) -> Result<PathBuf> {
    private("/tmp", cache)
}

/// A directory for the state of a hostd on this machine: on a disk, unlike [`runtime`]'s perhaps.
///
/// # Errors
/// When the directory cannot be made, or belongs to somebody else.
pub fn state(cache: &Path) -> Result<PathBuf> {
    private("/var/tmp", cache)
}

/// A private directory below `parent`. Its path is short because a socket's path may have 107
/// bytes only, whatever the length of the cache's own path.
fn private(parent: &str, cache: &Path) -> Result<PathBuf> {
    let user = nix::unistd::geteuid();
    let key = digest::of_bytes(cache.as_os_str().as_encoded_bytes());
    let directory = PathBuf::from(format!("{parent}/thaw-{user}-{}", &key[..8]));
    match fs::DirBuilder::new().mode(0o700).create(&directory) {
        Ok(()) => Ok(directory),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let found = fs::symlink_metadata(&directory)?;
            if !found.is_dir() || found.uid() != user.as_raw() || found.mode() & 0o077 != 0 {
                bail!(
                    "{} is not a private directory of this user",
                    directory.display()
                );
            }
            Ok(directory)
        }
        Err(error) => Err(error).context(format!("cannot make {}", directory.display())),
    }
}
