//! What kind of file system a path is on.

use std::path::Path;

use nix::sys::statfs::statfs;

/// Its name, as far as it matters here.
pub fn name(path: &Path) -> &'static str {
    statfs(path).map_or("unknown file system", |stat| {
        name_of_magic(stat.filesystem_type().0)
    })
}

/// Whether what is written there may stay in memory for good, and counts as its writer's. The writable part of an overlay
/// is often a tmpfs.
pub fn may_be_in_memory(path: &Path) -> bool {
    matches!(name(path), "tmpfs" | "ramfs" | "overlayfs")
}

fn name_of_magic(magic: nix::libc::__fsword_t) -> &'static str {
    match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlayfs",
        0x2fc1_2fc1 => "zfs",
        0x6969 => "nfs",
        _ => "another file system",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says() {
        assert!(!may_be_in_memory(Path::new("/proc")));
        assert_eq!(name(Path::new("/no/such")), "unknown file system");
    }
}
