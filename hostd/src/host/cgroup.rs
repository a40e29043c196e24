//! One cgroup (v2) for each vmm: its memory is accounted and bounded there, its tasks are counted, and all that runs in it
//! dies at once. The bounds are for a vmm that was taken over: one that does what it should never comes near them.
//!
//! Without cgroup v2, or without the right to use it, everything else works the same.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::file_system;

/// The kernel empties a killed cgroup within milliseconds, unless it has to free gigabytes or a device hangs.
const REMOVE_LIMIT: Duration = Duration::from_secs(10);
/// Between tries to remove one.
const FIRST_REMOVE_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_REMOVE_PAUSE: Duration = Duration::from_millis(100);
/// What hostd wants of the kernel for them.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// Tasks of one vmm. It has eight vCPUs at most, a save starts 64 threads at most, and a few more serve the devices.
const MAX_TASKS: u32 = 256;
/// What a vmm may take beside its guest's memory: the buffers of a save are the most of it, 12 MiB for each of 64 threads.
const VMM_BYTES: u64 = 1 << 30;
/// The host's page tables, KVM's, and KVM's map back take a 512th of a guest's memory each. This part is more than twice all.
const TABLES_PART: u64 = 64;

/// The parent of this hostd's cgroups.
#[derive(Clone, Debug)]
pub struct Cgroups {
    root: PathBuf,
    /// Not where the vmms' files are in memory: disks and snapshots would count as the vmm's, which nobody can bound.
    limits_memory: bool,
}

/// One vmm's cgroup. Cheap to clone; only the one that is removed removes it.
#[derive(Clone, Debug)]
pub struct Cgroup {
    path: PathBuf,
    limits_memory: bool,
}

impl Cgroups {
    /// Makes the parent cgroup. `None` when the host has no cgroup v2 that we may write to.
    pub fn open(state_dir: &Path) -> Option<Self> {
        let mount = mount_point()?;
        // Two hostds on one host have two state directories, and must not kill each other's.
        let digest = Sha256::digest(state_dir.as_os_str().as_encoded_bytes());
        let tag: String = digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let root = mount.join(format!("thaw-{tag}"));
        match make(&root) {
            Ok(()) => {
                // One that is missing or busy costs its own figures and limits alone; the doctor tells.
                for dir in [&mount, &root] {
                    for controller in CONTROLLERS {
                        let file = dir.join("cgroup.subtree_control");
                        let _ = write(&file, &format!("+{controller}"));
                    }
                }
                let limits_memory = !file_system::may_be_in_memory(state_dir);
                Some(Self {
                    root,
                    limits_memory,
                })
            }
            Err(error) => {
                tracing::info!(%error, "no cgroups: cannot make {}", root.display());
                None
            }
        }
    }

    /// Kills and removes every cgroup of a vmm.
    pub async fn clear(&self) {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let cgroups = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let paths: Vec<PathBuf> = cgroups.map(|entry| entry.path()).collect();
        join_all(paths.iter().map(|path| kill_and_remove(path))).await;
    }

    /// A new cgroup with this process in it.
    pub fn make_for(&self, pid: i32) -> Option<Cgroup> {
        let path = self.root.join(format!("vmm-{pid}"));
        let made = make(&path).and_then(|()| write(&path.join("cgroup.procs"), &pid.to_string()));
        match made {
            Ok(()) => {
                let cgroup = Cgroup {
                    path,
                    limits_memory: self.limits_memory,
                };
                cgroup.set("pids.max", u64::from(MAX_TASKS));
                Some(cgroup)
            }
            Err(error) => {
                tracing::warn!(%error, pid, "a vmm runs without its cgroup");
                let _ = fs::remove_dir(&path);
                None
            }
        }
    }

    /// Which limits vmms run without: what was found, and what to do about it.
    pub fn lack(&self) -> Option<(String, &'static str)> {
        let missing = missing_of(&self.root.join("cgroup.subtree_control"));
        if !missing.is_empty() {
            return Some((
                format!("no cgroup controller for {missing}"),
                "give hostd a cgroup v2 with both, not one whose root has processes of its own",
            ));
        }
        (!self.limits_memory).then(|| {
            let found = "memory is not limited: the state directory's files may be in memory";
            (found.to_owned(), "put --state-dir on a disk")
        })
    }

    /// The end: removes what is still there, whoever was to remove it, and the parent.
    pub async fn close(&self) {
        self.clear().await;
        kill_and_remove(&self.root).await;
    }
}

impl Cgroup {
    /// Bounds the vmm's memory by what it may need for this guest.
    pub fn limit_memory(&self, guest_bytes: u64) {
        if self.limits_memory {
            let bytes = guest_bytes
                .saturating_add(guest_bytes / TABLES_PART)
                .saturating_add(VMM_BYTES);
            self.set("memory.max", bytes);
        }
    }

    fn set(&self, limit: &str, value: u64) {
        if let Err(error) = write(&self.path.join(limit), &value.to_string()) {
            tracing::debug!(%error, "a vmm runs without {limit}");
        }
    }

    /// Kills whatever still runs in it and removes it.
    pub async fn remove(self) {
        kill_and_remove(&self.path).await;
    }
}

/// Kills whatever runs in a cgroup, waits until the kernel has taken it down, and removes the cgroup. One that is gone
/// already is as good.
async fn kill_and_remove(path: &Path) {
    // Linux before 5.14 has no such file; what is in there then has to end by itself.
    let _ = write(&path.join("cgroup.kill"), "1");
    let deadline = Instant::now() + REMOVE_LIMIT;
    let mut pause = FIRST_REMOVE_PAUSE;
    loop {
        // Busy is the kernel's word for what cgroup.events calls `populated 1`: as long as anything in there is alive.
        match fs::remove_dir(path) {
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {}
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(%error, "cgroup {} cannot be removed", path.display());
                return;
            }
            _ => return,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_REMOVE_PAUSE);
    }
}

/// Writes one of the kernel's files, and never makes it: a controller that is missing here is told as NotFound.
fn write(file: &Path, value: &str) -> io::Result<()> {
    fs::File::options()
        .write(true)
        .open(file)?
        .write_all(value.as_bytes())
}

/// Which of the wanted controllers a file of the kernel's does not name.
pub fn missing_of(file: &Path) -> String {
    let there = fs::read_to_string(file).unwrap_or_default();
    let is_missing = |wanted: &&str| !there.split_whitespace().any(|name| name == *wanted);
    let missing: Vec<&str> = CONTROLLERS.into_iter().filter(is_missing).collect();
    missing.join(" and ")
}

/// Where cgroup v2 is mounted, if it is.
pub fn mount_point() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let is_cgroup2 = right.split(' ').next() == Some("cgroup2");
        is_cgroup2.then(|| left.split(' ').nth(4).map(PathBuf::from))?
    })
}

fn make(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_nobody_removed_is_killed_and_removed_at_the_end() {
        let temp = tempfile::tempdir().unwrap();
        let Some(cgroups) = Cgroups::open(temp.path()) else {
            let skip = "skipped: this host has no cgroup v2 that tests may write to";
            let must_run = std::env::var_os("THAW_MUST_RUN").is_some_and(|value| value == "1");
            assert!(!must_run, "{skip}");
            writeln!(io::stderr(), "{skip}").unwrap();
            return;
        };
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let Some(cgroup) = cgroups.make_for(pid) else {
            child.kill().unwrap();
            panic!("a process does not go into its cgroup");
        };
        let path = cgroup.path.clone();
        assert!(path.is_dir());
        cgroups.close().await;
        assert!(!path.exists() && !cgroups.root.exists());
        assert!(!child.wait().unwrap().success());
        // Whoever comes later has nothing to do.
        cgroup.remove().await;
    }

    #[test]
    fn limits_leave_room_for_the_guest_and_its_vmm() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("memory.max");
        fs::write(&file, "").unwrap();
        let cgroup = |limits_memory| Cgroup {
            path: temp.path().to_owned(),
            limits_memory,
        };
        cgroup(false).limit_memory(16 << 30);
        assert_eq!(fs::read_to_string(&file).unwrap(), "");
        cgroup(true).limit_memory(16 << 30);
        let bytes: u64 = fs::read_to_string(&file).unwrap().parse().unwrap();
        assert!(bytes > 17 << 30, "{bytes}");
        // A controller that is missing is no reason to fail.
        cgroup(true).set("pids.max", 1);
        assert!(!temp.path().join("pids.max").exists());
    }

    #[test]
    fn missing_controllers_are_named() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("cgroup.controllers");
        assert_eq!(missing_of(&file), "memory and pids");
        fs::write(&file, "cpuset cpu io pids\n").unwrap();
        assert_eq!(missing_of(&file), "memory");
        fs::write(&file, "memory pids\n").unwrap();
        assert_eq!(missing_of(&file), "");
    }
}
