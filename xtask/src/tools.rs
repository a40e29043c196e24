//! The programs of other projects that xtask and the image builder need, and how to get them.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, bail};
use images::command::find;

use crate::progress;

/// A program and the Debian package that has it.
type Tool = (&'static str, &'static str);

/// What building programs needs besides what Rust needs: jemalloc's own build.
pub const COMPILING: &[Tool] = &[("make", "make")];

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

/// What the tests of the SDKs use beside them: interpreters, and clients of what sandboxes expose.
pub const SDK_CLIENTS: &[Tool] = &[
    ("python3", "python3"),
    ("node", "nodejs"),
    ("curl", "curl"),
    ("ssh", "openssh-client"),
];

/// What making certificates needs.
pub const CERTIFICATES: &[Tool] = &[("openssl", "openssl")];

/// What making namespaces and moving processes into them needs.
pub const NETWORK: &[Tool] = &[
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("taskset", "util-linux"),
];

/// What unpacking Debian's packages without installing them needs.
pub const UNPACKING: &[Tool] = &[("dpkg-deb", "dpkg")];

/// What fetching packages from PyPI needs.
const PYTHON: &[Tool] = &[("python3", "python3"), ("pip3", "python3-pip")];

/// What fetching packages from npm needs.
const NPM: &[Tool] = &[("npm", "npm")];

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
    with_lists(|| apt(&install)).with_context(|| format!("try `{install}` by hand"))?;
    step.done();
    Ok(())
}

/// Puts a package's file into a directory. Nothing is installed.
///
/// # Errors
/// When there is no such package.
pub fn download(package: &str, directory: &Path) -> Result<()> {
    with_lists(|| {
        let mut command = Command::new("apt-get");
        command.args(["download", package]).current_dir(directory);
        images::command::run(&mut command)?;
        Ok(())
    })
}

/// Puts a package of PyPI and what it needs into a directory. Nothing is installed.
///
/// # Errors
/// When they cannot be had.
pub fn fetch_python(package: &str, directory: &Path) -> Result<()> {
    ensure(PYTHON)?;
    let mut install = Command::new("python3");
    install.args(["-m", "pip", "install", "--quiet", "--target"]);
    images::command::run(install.arg(directory).arg(package))?;
    Ok(())
}

/// Puts packages of npm and what they need below `node_modules` in a directory. Nothing of it is run.
///
/// # Errors
/// When they cannot be had.
pub fn fetch_javascript(packages: &[&str], directory: &Path) -> Result<()> {
    ensure(NPM)?;
    std::fs::create_dir_all(directory)?;
    let mut install = Command::new("npm");
    install.args([
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
    ]);
    images::command::run(install.arg(directory).args(packages))?;
    Ok(())
}

/// The lists of packages may be missing (a fresh container) or too old: only then are they fetched.
fn with_lists(get: impl Fn() -> Result<()>) -> Result<()> {
    if get().is_err() {
        apt("apt-get update")?;
        get()?;
    }
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
