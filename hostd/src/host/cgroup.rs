//! One cgroup (v2) for each vmm: its memory is accounted there, and all that runs in it dies at once.
//!
//! Without cgroup v2, or without the right to use it, everything else works the same.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// The kernel empties a killed cgroup within milliseconds.
const REMOVE_TRIES: u32 = 100;
const REMOVE_PAUSE: Duration = Duration::from_millis(5);

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
                    let _ = fs::write(dir.join("cgroup.subtree_control"), "+memory");
                }
                Some(Self { root })
            }
            Err(error) => {
                tracing::info!(%error, "no cgroups: cannot make {}", root.display());
                None
            }
        }
    }

    /// Kills and removes what an earlier hostd left here. Blocks.
    pub fn clear(&self) {
        let Ok(entries) = fs::read_dir(&self.root) else {
            return;
        };
        for entry in entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        {
            let _ = fs::write(entry.path().join("cgroup.kill"), "1");
            for _ in 0..REMOVE_TRIES {
                match fs::remove_dir(entry.path()) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(REMOVE_PAUSE)
                    }
                    _ => break,
                }
            }
        }
    }

    /// A new cgroup with this process in it.
    pub fn make_for(&self, pid: i32) -> Option<Cgroup> {
        let path = self.root.join(format!("vmm-{pid}"));
        let made = make(&path).and_then(|()| fs::write(path.join("cgroup.procs"), pid.to_string()));
        match made {
            Ok(()) => Some(Cgroup { path }),
            Err(error) => {
                tracing::warn!(%error, pid, "a vmm runs without its cgroup");
                let _ = fs::remove_dir(&path);
                None
            }
        }
    }

    /// Removes the parent, at the end.
    pub fn remove(&self) {
        let _ = fs::remove_dir(&self.root);
    }
}

impl Cgroup {
    /// Kills whatever still runs in it and removes it.
    pub async fn remove(self) {
        let _ = fs::write(self.path.join("cgroup.kill"), "1");
        for _ in 0..REMOVE_TRIES {
            match fs::remove_dir(&self.path) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                    tokio::time::sleep(REMOVE_PAUSE).await
                }
                _ => return,
            }
        }
        tracing::warn!("cgroup {} cannot be removed", self.path.display());
    }
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
