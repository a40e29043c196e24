//! The table of mounts, and the move from the initramfs to the real root.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::failure::BootError;

struct Mount {
    source: &'static str,
    target: &'static str,
    fstype: &'static str,
    flags: MsFlags,
    data: Option<&'static str>,
}

const NOSUID_NODEV: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
const NOSUID_NOEXEC: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC);
const STRICT: MsFlags = NOSUID_NODEV.union(MsFlags::MS_NOEXEC);

/// Needed to find modules and disks; moved along when the root is switched.
#[rustfmt::skip]
const KERNEL: [Mount; 3] = [
    Mount { source: "proc",  target: "/proc", fstype: "proc",     flags: STRICT,             data: None },
    Mount { source: "sysfs", target: "/sys",  fstype: "sysfs",    flags: STRICT,             data: None },
    Mount { source: "dev",   target: "/dev",  fstype: "devtmpfs", flags: MsFlags::MS_NOSUID, data: Some("mode=0755") },
];

/// Mounted inside the new root. `/tmp` is not here: it stays on the overlay, so that what a program
/// puts there takes disk and not guest memory, and lands in a snapshot's disk layer.
#[rustfmt::skip]
const RUNTIME: [Mount; 4] = [
    Mount { source: "devpts",  target: "/dev/pts",       fstype: "devpts",  flags: NOSUID_NOEXEC, data: Some("gid=5,mode=0620,ptmxmode=0666") },
    Mount { source: "shm",     target: "/dev/shm",       fstype: "tmpfs",   flags: NOSUID_NODEV,  data: Some("mode=1777") },
    Mount { source: "run",     target: "/run",           fstype: "tmpfs",   flags: NOSUID_NODEV,  data: Some("mode=0755") },
    Mount { source: "cgroup2", target: "/sys/fs/cgroup", fstype: "cgroup2", flags: STRICT,        data: Some("nsdelegate") },
];

/// Links that shells and tools expect; the kernel does not make them.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Mounts `/proc`, `/sys` and `/dev` in the initramfs.
pub(super) fn mount_kernel_filesystems() -> Result<(), BootError> {
    KERNEL.iter().try_for_each(mount_entry)
}

/// Makes `root` the root of this process and of all that it starts.
///
/// The initramfs cannot be pivoted away; the new root is moved over it, which hides it.
pub(super) fn switch_root(root: &'static str) -> Result<(), BootError> {
    for entry in &KERNEL {
        let target = Path::new(root).join(entry.target.trim_start_matches('/'));
        make_dir(&target);
        mount(
            Some(entry.target),
            &target,
            None::<&str>,
            MsFlags::MS_MOVE,
            None::<&str>,
        )
        .map_err(|errno| BootError::Mount {
            source_name: entry.target,
            target: root,
            errno,
        })?;
    }
    nix::unistd::chdir(root).map_err(BootError::call("chdir to the new root"))?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>).map_err(|errno| {
        BootError::Mount {
            source_name: root,
            target: "/",
            errno,
        }
    })?;
    nix::unistd::chroot(".").map_err(BootError::call("chroot"))?;
    nix::unistd::chdir("/").map_err(BootError::call("chdir /"))
}

/// Mounts what a running system has, in the new root.
pub(super) fn mount_runtime_filesystems() -> Result<(), BootError> {
    RUNTIME.iter().try_for_each(mount_entry)?;
    for (target, link) in LINKS {
        // An image that brings its own is right.
        let _ = symlink(target, link);
    }
    make_dir(Path::new("/tmp"));
    let _ = std::fs::set_permissions("/tmp", std::fs::Permissions::from_mode(0o1777));
    Ok(())
}

fn mount_entry(entry: &Mount) -> Result<(), BootError> {
    make_dir(Path::new(entry.target));
    match mount(
        Some(entry.source),
        entry.target,
        Some(entry.fstype),
        entry.flags,
        entry.data,
    ) {
        // The kernel may have mounted devtmpfs by itself.
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(errno) => Err(BootError::Mount {
            source_name: entry.source,
            target: entry.target,
            errno,
        }),
    }
}

/// A directory that cannot be made shows in the mount that follows.
fn make_dir(path: &Path) {
    let _ = std::fs::create_dir(path);
}
