//! Room: on disk, in memory, for open files; and something to run.

use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statfs::statfs;
use nix::sys::statvfs::statvfs;

use super::Check;
use crate::host::memory;
use crate::images::Images;

/// Below this a snapshot or two fill the disk.
const ENOUGH_DISK: u64 = 5 << 30;
/// Below this not even one default sandbox fits beside its template.
const ENOUGH_MEMORY: u64 = 1 << 30;
/// A sandbox needs about a dozen.
const ENOUGH_FILES: u64 = 4096;

pub(super) fn of_machine() -> Vec<Check> {
    vec![memory_check(), open_files()]
}

pub(super) fn of_hostd(state_dir: &Path, images: &Images) -> Vec<Check> {
    vec![writable(state_dir), space(state_dir), installed(images)]
}

fn writable(state_dir: &Path) -> Check {
    const REQUIREMENT: &str = "state directory can be written to";
    let probe = state_dir.join(".doctor");
    let kind = statfs(state_dir).map_or("unknown file system", |stat| {
        file_system(stat.filesystem_type().0)
    });
    let found = format!("{} ({kind})", state_dir.display());
    match std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)) {
        Ok(()) if kind == "nfs" => Check::warning(
            REQUIREMENT,
            found,
            "use a local file system: locks and sparse files are slow or missing on NFS",
        ),
        Ok(()) => Check::ok(REQUIREMENT, found),
        Err(error) => Check::failed(
            REQUIREMENT,
            format!("{found}: {error}"),
            "run hostd as root or choose another --state-dir",
        ),
    }
}

fn space(state_dir: &Path) -> Check {
    const REQUIREMENT: &str = "5 GiB free in the state directory";
    match statvfs(state_dir) {
        Ok(stat) => {
            let free = stat.blocks_available().saturating_mul(stat.fragment_size());
            at_least(
                REQUIREMENT,
                free,
                ENOUGH_DISK,
                "delete snapshots (thaw snapshot rm) or choose a larger disk for --state-dir",
            )
        }
        Err(error) => Check::warning(
            REQUIREMENT,
            error.to_string(),
            "see what is wrong with that file system",
        ),
    }
}

fn memory_check() -> Check {
    at_least(
        "1 GiB of memory available",
        memory::available_bytes().unwrap_or(0),
        ENOUGH_MEMORY,
        "end some sandboxes or lower --template-cache-bytes",
    )
}

fn open_files() -> Check {
    const REQUIREMENT: &str = "4096 open files allowed";
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, hard)) if hard >= ENOUGH_FILES => Check::ok(REQUIREMENT, hard.to_string()),
        Ok((_, hard)) => Check::warning(
            REQUIREMENT,
            hard.to_string(),
            "raise it: LimitNOFILE=65536 in the unit, or ulimit -n",
        ),
        Err(error) => Check::warning(REQUIREMENT, error.to_string(), "see ulimit -n"),
    }
}

fn installed(images: &Images) -> Check {
    const REQUIREMENT: &str = "an installed image";
    let names: Vec<String> = images.all().into_keys().collect();
    if names.is_empty() {
        return Check::warning(
            REQUIREMENT,
            "none",
            "make one: images build --output DIR, then --images DIR",
        );
    }
    Check::ok(REQUIREMENT, names.join(", "))
}

fn at_least(requirement: &'static str, found: u64, enough: u64, remedy: &str) -> Check {
    let shown = format!("{:.1} GiB", found as f64 / f64::from(1 << 30));
    if found >= enough {
        Check::ok(requirement, shown)
    } else {
        Check::warning(requirement, shown, remedy)
    }
}

/// Names of the magic numbers that matter.
fn file_system(magic: nix::libc::__fsword_t) -> &'static str {
    match magic {
        0xef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlayfs",
        0x2fc1_2fc1 => "zfs",
        0x6969 => "nfs",
        _ => "another file system",
    }
}
