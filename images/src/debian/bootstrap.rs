//! Runs mmdebstrap: an installed system, or only the files of some packages.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use thiserror::Error;

use super::{SUITE, sources};
use crate::command::{self, command, run};

/// Why no tree was made.
#[derive(Debug, Error)]
pub enum Error {
    /// There is nowhere to take packages from.
    #[error(transparent)]
    Sources(#[from] sources::Error),
    /// mmdebstrap or tar did not succeed.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// A directory could not be made.
    #[error("cannot prepare the work directory")]
    Io(#[from] io::Error),
}

/// Unpacks the files of `packages` and of what they depend on into `output`, and runs none of
/// their scripts. With `members` only these paths (`./lib/modules`, …) are unpacked.
///
/// # Errors
/// [`Error`] when packages cannot be had.
pub fn extract(packages: &[&str], members: &[&str], output: &Path) -> Result<(), Error> {
    fs::create_dir_all(output)?;
    let work = tempfile::tempdir()?;
    let tar = work.path().join("packages.tar");
    let mut mmdebstrap = mmdebstrap("extract", packages, work.path());
    run(mmdebstrap
        .arg(SUITE)
        .arg(&tar)
        .args(sources::collect(SUITE, work.path())?))?;
    run(command("tar")
        .arg("-xf")
        .arg(&tar)
        .arg("-C")
        .arg(output)
        .args(members))?;
    Ok(())
}

/// Installs a minimal system with `packages` and runs `hooks` on it, shell commands that find
/// its root directory as `$1` and its owner as themselves. Only what they write is kept.
///
/// # Errors
/// [`Error`] when packages cannot be had or a hook fails.
pub fn install(packages: &[&str], hooks: &[String], work: &Path) -> Result<(), Error> {
    let mut mmdebstrap = mmdebstrap("minbase", packages, work);
    for hook in hooks {
        mmdebstrap.arg(format!("--customize-hook={hook}"));
    }
    mmdebstrap.args(["--format=null", SUITE, "/dev/null"]);
    run(mmdebstrap.args(sources::collect(SUITE, work)?))?;
    Ok(())
}

/// Packs an installed system; run by a hook.
const PACK_EROFS: &str = include_str!("pack-erofs.sh");

/// A hook for [`install`], its last one, that packs the system as an erofs image at `output`
/// without package lists, caches and logs. `work` keeps the script that does it.
///
/// # Errors
/// When the script cannot be written.
pub fn pack_erofs(output: &Path, work: &Path) -> io::Result<String> {
    let script = work.join("pack-erofs.sh");
    fs::write(&script, PACK_EROFS)?;
    Ok(format!(
        "sh {} {} \"$1\"",
        quoted(&script),
        quoted(&absolute(output))
    ))
}

/// `path` as one word of a shell command.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

fn mmdebstrap(variant: &str, packages: &[&str], work: &Path) -> Command {
    let mut mmdebstrap = command("mmdebstrap");
    mmdebstrap
        .env("TMPDIR", absolute(work))
        .arg(format!("--variant={variant}"))
        .arg(format!("--include={}", packages.join(",")))
        // Nobody reads manuals in a sandbox.
        .arg("--dpkgopt=path-exclude=/usr/share/man/*")
        .arg("--dpkgopt=path-exclude=/usr/share/doc/*")
        .arg("--dpkgopt=path-exclude=/usr/share/locale/*");
    if !nix::unistd::geteuid().is_root() {
        mmdebstrap.arg("--mode=unshare");
    }
    mmdebstrap
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
