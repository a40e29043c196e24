//! The virtual host's initramfs: busybox, the modules that reach the root file system, and the
//! files that are laid over it.

use std::{fs, path::Path};

use anyhow::Result;
use images::{cpio::Archive, kernel::package::KernelTree};

use super::{files, keys::Keys};

const DIRECTORIES: &[&str] = &["bin", "dev", "layers", "modules", "newroot"];
const OVERLAY_DIRECTORIES: &[&str] = &[
    "overlay",
    "overlay/etc",
    "overlay/etc/ssh",
    "overlay/usr",
    "overlay/usr/local",
    "overlay/usr/local/sbin",
];

/// Writes it to `path`.
///
/// # Errors
/// When something it is made of is missing, or it cannot be written.
pub fn write(kernel: &KernelTree, keys: &Keys, path: &Path) -> Result<()> {
    let mut archive = Archive::new(Vec::new());
    for directory in DIRECTORIES.iter().chain(OVERLAY_DIRECTORIES) {
        archive.directory(directory)?;
    }
    // The kernel opens it for PID 1 before anything is mounted.
    archive.char_device("dev/console", 5, 1)?;
    archive.file("init", 0o755, files::INIT.as_bytes())?;
    archive.file("bin/busybox", 0o755, &fs::read(kernel.busybox())?)?;

    let modules = kernel.modules()?;
    for (number, module) in modules.load_order(files::modules())?.iter().enumerate() {
        // The shell lists them in the order of their names.
        archive.file(
            &format!("modules/{number:03}.ko"),
            0o644,
            &kernel.module(module)?,
        )?;
    }

    for (name, permissions, content) in [
        ("etc/inittab", 0o644, files::INITTAB.as_bytes()),
        ("etc/ssh/sshd_config", 0o644, files::SSHD_CONFIG.as_bytes()),
        ("etc/ssh/authorized_keys", 0o644, &keys.authorized()?),
        ("etc/ssh/host_key", 0o600, &keys.host()?),
        ("usr/local/sbin/setup", 0o755, files::SETUP.as_bytes()),
    ] {
        archive.file(&format!("overlay/{name}"), permissions, content)?;
    }
    fs::write(path, archive.finish()?)?;
    Ok(())
}
