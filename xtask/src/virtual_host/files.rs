//! The virtual host's own files, from `tests/virtual-host`.

/// PID 1 of the initramfs.
pub const INIT: &str = include_str!("../../../tests/virtual-host/init");
/// What busybox's init does in the root file system.
pub const INITTAB: &str = include_str!("../../../tests/virtual-host/inittab");
/// Mounts, modules, network: run once at boot.
pub const SETUP: &str = include_str!("../../../tests/virtual-host/setup");
/// The ssh server's configuration.
pub const SSHD_CONFIG: &str = include_str!("../../../tests/virtual-host/sshd_config");
const PACKAGES: &str = include_str!("../../../tests/virtual-host/packages.txt");
const MODULES: &str = include_str!("../../../tests/virtual-host/modules.txt");

/// Packages of the root file system, beside Debian's minimal system.
pub fn packages() -> Vec<&'static str> {
    entries(PACKAGES)
}

/// Kernel modules of the initramfs.
pub fn modules() -> Vec<&'static str> {
    entries(MODULES)
}

fn entries(text: &'static str) -> Vec<&'static str> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect()
}
