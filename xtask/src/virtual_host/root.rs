//! The virtual host's kernel and root file system.

use std::path::{Path, PathBuf};

use anyhow::Result;
use images::{
    debian::{
        SUITE,
        bootstrap::{self, pack_erofs, quoted},
    },
    kernel::package::KernelTree,
};

use super::files;
use crate::cache;

/// Debian's kernel for virtual machines. It has everything that hostd needs.
const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";

/// Changes when what [`make`] does changes, so that older file systems are not used.
const VERSION: &str = "3";

/// The kernel, from the cache.
///
/// # Errors
/// When it cannot be fetched.
pub fn kernel(cache: &Path) -> Result<KernelTree> {
    let root = cache::entry(cache, "kernel", &[SUITE, KERNEL_PACKAGE], |directory| {
        KernelTree::fetch(KERNEL_PACKAGE, directory)?;
        Ok(())
    })?;
    Ok(KernelTree::open(&root)?)
}

/// The root file system, an erofs image from the cache.
///
/// # Errors
/// When it cannot be made.
pub fn image(cache: &Path, kernel: &KernelTree) -> Result<PathBuf> {
    let packages = files::packages();
    let inputs = [SUITE, VERSION, kernel.release(), &packages.join(" ")];
    let directory = cache::entry(cache, "virtual-host-root", &inputs, |directory| {
        make(&packages, kernel, directory)
    })?;
    Ok(directory.join("root.erofs"))
}

fn make(packages: &[&str], kernel: &KernelTree, directory: &Path) -> Result<()> {
    let work = tempfile::tempdir_in(directory)?;
    let modules = kernel.modules_directory();
    let hooks = [
        format!(
            "mkdir -p \"$1/lib/modules\" && cp -a {} \"$1/lib/modules/\"",
            quoted(&modules)
        ),
        format!("cp {} \"$1/usr/bin/busybox\"", quoted(&kernel.busybox())),
        "ln -sf /usr/bin/busybox \"$1/sbin/init\"".to_owned(),
        "rm -f \"$1\"/etc/ssh/ssh_host_*".to_owned(),
        pack_erofs(&directory.join("root.erofs"), work.path())?,
    ];
    Ok(bootstrap::install(packages, &hooks, work.path())?)
}
