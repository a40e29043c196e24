//! The programs of other projects that xtask and the image builder need, and how to get them.

use std::process::Command;

use anyhow::{Context, Result, bail};
use images::command::find;

use crate::progress;

/// A program and the Debian package that has it.
type Tool = (&'static str, &'static str);

/// What building images and the virtual host's root needs.
pub const BUILDING: &[Tool] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("mkfs.erofs", "erofs-utils"),
    ("mke2fs", "e2fsprogs"),
    ("depmod", "kmod"),
    ("tar", "tar"),
];

/// What talking to the virtual host needs.
pub const REMOTE: &[Tool] = &[("ssh", "openssh-client"), ("ssh-keygen", "openssh-client")];

/// Makes sure that `tools` are there; installs what is missing when that is allowed.
///
/// # Errors
/// When something is missing and cannot be installed: the message has the command that does.
pub fn ensure(tools: &[Tool]) -> Result<()> {
    let missing: Vec<&str> = missing(tools);
    if missing.is_empty() {
        return Ok(());
    }
    let install = format!(
        "apt-get install --yes --no-install-recommends {}",
        missing.join(" ")
    );
    if !nix::unistd::geteuid().is_root() {
        bail!("some programs are missing; install them with\n\n    sudo {install}\n");
    }
    let step = progress::step(format!("installing {}", missing.join(", ")));
    // The lists may be missing (a fresh container) or too old: only then are they fetched.
    if apt(&install).is_err() {
        apt("apt-get update")?;
        apt(&install).with_context(|| format!("try `{install}` by hand"))?;
    }
    step.done();
    Ok(())
}

fn missing(tools: &[Tool]) -> Vec<&'static str> {
    let mut packages: Vec<&str> = tools
        .iter()
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    packages
}

fn apt(line: &str) -> Result<()> {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap_or("apt-get"));
    images::command::run(command.args(words).env("DEBIAN_FRONTEND", "noninteractive"))?;
    Ok(())
}
