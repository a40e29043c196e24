//! The root file system: the image's disk below, the sandbox's own above.
//!
//! `/dev/vda` is erofs and read-only, shared by every sandbox of the image. `/dev/vdb` is ext4 and takes
//! every change. An overlay of both is the root.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use super::failure::BootError;

/// How long a disk may take to appear. Probing is over within milliseconds of loading the driver.
const DISK_WAIT: Duration = Duration::from_secs(5);
/// How often to look.
const DISK_POLL: Duration = Duration::from_millis(1);

const LOWER: &str = "/lower";
const SCRATCH: &str = "/scratch";
const ROOT: &str = "/newroot";

struct Disk {
    device: &'static str,
    target: &'static str,
    fstype: &'static str,
    flags: MsFlags,
}

// Access times would make every read of a file a write to the sandbox's layer.
#[rustfmt::skip]
const DISKS: [Disk; 2] = [
    Disk { device: "/dev/vda", target: LOWER,   fstype: "erofs", flags: MsFlags::MS_RDONLY },
    Disk { device: "/dev/vdb", target: SCRATCH, fstype: "ext4",  flags: MsFlags::MS_NOATIME },
];

/// Mounts both disks and the overlay; answers where the new root is.
pub(super) fn assemble_root() -> Result<&'static str, BootError> {
    for disk in &DISKS {
        wait_for(disk.device)?;
        make_dir(disk.target)?;
        mount(
            Some(disk.device),
            disk.target,
            Some(disk.fstype),
            disk.flags,
            None::<&str>,
        )
        .map_err(|errno| BootError::Mount {
            source_name: disk.device,
            target: disk.target,
            errno,
        })?;
    }
    make_dir("/scratch/upper")?;
    make_dir("/scratch/work")?;
    make_dir(ROOT)?;
    let layers = "lowerdir=/lower,upperdir=/scratch/upper,workdir=/scratch/work";
    mount(
        Some("overlay"),
        ROOT,
        Some("overlay"),
        MsFlags::MS_NOATIME,
        Some(layers),
    )
    .map_err(|errno| BootError::Mount {
        source_name: "overlay",
        target: ROOT,
        errno,
    })?;
    Ok(ROOT)
}

fn wait_for(device: &'static str) -> Result<(), BootError> {
    let start = Instant::now();
    while !Path::new(device).exists() {
        if start.elapsed() > DISK_WAIT {
            return Err(BootError::NoDisk {
                device,
                waited: DISK_WAIT,
            });
        }
        std::thread::sleep(DISK_POLL);
    }
    Ok(())
}

fn make_dir(path: &'static str) -> Result<(), BootError> {
    match std::fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(BootError::Call {
            operation: path,
            errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
        }),
    }
}
