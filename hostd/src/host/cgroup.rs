//! One cgroup (v2) for each vmm: its memory is accounted there, and all that runs in it dies at once.
//!
//! Without cgroup v2, or without the right to use it, everything else works the same.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::future::join_all;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// The kernel empties a killed cgroup within milliseconds, unless it has to free gigabytes or a device hangs.
const REMOVE_LIMIT: Duration = Duration::from_secs(10);
/// Between tries to remove one.
const FIRST_REMOVE_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_REMOVE_PAUSE: Duration = Duration::from_millis(100);

/// The parent of this hostd's cgroups.
#[derive(Clone, Debug)]
pub struct Cgroups {
    root: PathBuf,
}

/// One vmm's cgroup.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
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
                // Accounting only; a controller that is missing or busy costs nothing else.
                for dir in [&mount, &root] {
                    let _ = write(&dir.join("cgroup.subtree_control"), "+memory");
                }
                Some(Self { root })
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
            Ok(()) => Some(Cgroup { path }),
            Err(error) => {
                tracing::warn!(%error, pid, "a vmm runs without its cgroup");
                let _ = fs::remove_dir(&path);
                None
            }
        }
    }

    /// The end: removes what is still there, whoever was to remove it, and the parent.
    pub async fn close(&self) {
        self.clear().await;
        kill_and_remove(&self.root).await;
    }
}

impl Cgroup {
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
}
