//! Room: on disk, in memory, for open files; and something to run.

use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;

use super::Check;
use crate::host::cgroup::Cgroups;
use crate::host::{file_system, memory};
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

pub(super) fn of_hostd(state_dir: &Path, images: &Images, cgroups: Option<&Cgroups>) -> Vec<Check> {
    vec![
        limits(cgroups),
        writable(state_dir),
        space(state_dir),
        installed(images),
    ]
}

fn limits(cgroups: Option<&Cgroups>) -> Check {
    const REQUIREMENT: &str = "limits on every vmm";
    let Some(cgroups) = cgroups else {
        return Check::warning(REQUIREMENT, "none", "give hostd a cgroup v2");
    };
    match cgroups.lack() {
        None => Check::ok(REQUIREMENT, "memory and tasks"),
        Some((found, remedy)) => Check::warning(REQUIREMENT, found, remedy),
    }
}

fn writable(state_dir: &Path) -> Check {
    const REQUIREMENT: &str = "state directory can be written to";
    let probe = state_dir.join(".doctor");
    let kind = file_system::name(state_dir);
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
