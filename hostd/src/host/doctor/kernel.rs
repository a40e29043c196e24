//! What the host's kernel must offer.

use std::path::Path;

use super::Check;
use crate::error::chain;
use crate::host::cgroup;
use crate::host::facts::kernel_release;

/// The oldest kernel that all of this is tried on: Debian 12's.
const OLDEST_KERNEL: (u32, u32) = (6, 1);

pub(super) fn checks() -> Vec<Check> {
    vec![kernel(), cgroups(), userfaultfd(), tun(), networks()]
}

fn kernel() -> Check {
    const REQUIREMENT: &str = "Linux 6.1 or newer";
    let release = kernel_release();
    let mut numbers = release
        .split(['.', '-', '+'])
        .map_while(|part| part.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found >= OLDEST_KERNEL {
        return Check::ok(REQUIREMENT, release);
    }
    Check::warning(
        REQUIREMENT,
        release,
        "upgrade the kernel; older ones are not tried",
    )
}

fn cgroups() -> Check {
    const REQUIREMENT: &str = "cgroup v2";
    match cgroup::mount_point() {
        Some(mount) if is_writable(&mount) => {
            let found = mount.display().to_string();
            let missing = cgroup::missing_of(&mount.join("cgroup.controllers"));
            if missing.is_empty() {
                return Check::ok(REQUIREMENT, found);
            }
            Check::warning(
                REQUIREMENT,
                format!("{found} without controllers for {missing}: vmms run without these limits"),
                "boot with cgroup_no_v1=all and a kernel that has them",
            )
        }
        Some(mount) => Check::warning(
            REQUIREMENT,
            format!("{} cannot be written to", mount.display()),
            "run hostd as root on the host's own cgroups",
        ),
        None => Check::warning(
            REQUIREMENT,
            "not mounted",
            "mount it: mount -t cgroup2 none /sys/fs/cgroup",
        ),
    }
}

fn userfaultfd() -> Check {
    const REQUIREMENT: &str = "userfaultfd";
    // The device, or as root the system call, which this file comes with.
    let found = ["/dev/userfaultfd", "/proc/sys/vm/unprivileged_userfaultfd"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    match found {
        Some(path) => Check::ok(REQUIREMENT, path),
        None => Check::warning(
            REQUIREMENT,
            "not in this kernel",
            "use a kernel with CONFIG_USERFAULTFD for restores on demand",
        ),
    }
}

fn tun() -> Check {
    const REQUIREMENT: &str = "tun devices";
    let device = Path::new("/dev/net/tun");
    match std::fs::File::options().read(true).write(true).open(device) {
        Ok(_) => Check::ok(REQUIREMENT, device.display().to_string()),
        Err(error) => Check::warning(
            REQUIREMENT,
            format!("{}: {error}", device.display()),
            "modprobe tun; needed for sandboxes with a network",
        ),
    }
}

/// By making one, and taking it away again.
fn networks() -> Check {
    const REQUIREMENT: &str = "networks of sandboxes";
    match net::probe() {
        Ok(()) => Check::ok(REQUIREMENT, "namespace, tap and nftables' TPROXY"),
        Err(error) => Check::warning(
            REQUIREMENT,
            chain(&error),
            format!(
                "run hostd as root, and: modprobe -a {}",
                net::MODULES.join(" ")
            ),
        ),
    }
}

fn is_writable(directory: &Path) -> bool {
    use nix::unistd::{AccessFlags, access};
    access(directory, AccessFlags::W_OK).is_ok()
}
