//! Namespaces: an empty root directory, no network, no IPC, a host name of its own.

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, chroot, pivot_root};

use super::{JailError, failed};

/// Any directory that exists everywhere: it is covered, in this process's eyes only, by an empty one.
const COVERED: &str = "/tmp";

/// Leaves every namespace that a vmm needs nothing of. All it touches it has as descriptors.
///
/// # Errors
///
/// When the kernel refuses.
pub fn enter(root: bool) -> Result<(), JailError> {
    let mut flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if !root {
        // Only in a user namespace of its own may an ordinary user do this.
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).map_err(failed("leave the host's namespaces"))?;
    empty_root()
}

fn empty_root() -> Result<(), JailError> {
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).map_err(failed("make mounts private"))?;
    let options = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(
        Some("none"),
        COVERED,
        Some("tmpfs"),
        options,
        Some("size=0,mode=555"),
    )
    .map_err(failed("mount an empty directory"))?;
    chdir(COVERED).map_err(failed("enter the empty directory"))?;
    change_root()?;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | options;
    mount(none, "/", none, read_only, none).map_err(failed("make the root directory read-only"))?;
    chdir("/").map_err(failed("enter the root directory"))
}

/// Makes the current directory the root directory, with nothing of the old one left.
fn change_root() -> Result<(), JailError> {
    match pivot_root(".", ".") {
        // The old root has ended up on top of the new one, in the same place.
        Ok(()) => {
            umount2(".", MntFlags::MNT_DETACH).map_err(failed("take the old root directory away"))
        }
        // The first root directory of a kernel, such as an initramfs, cannot be exchanged; it can be covered.
        Err(Errno::EINVAL) => {
            let none = None::<&str>;
            mount(Some("."), "/", none, MsFlags::MS_MOVE, none)
                .map_err(failed("cover the root directory"))?;
            chroot(".").map_err(failed("change the root directory"))
        }
        Err(errno) => Err(failed("change the root directory")(errno)),
    }
}
