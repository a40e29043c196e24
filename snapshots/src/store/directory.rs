//! One directory of snapshots.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::names::Names;
use super::{StoreError, files};
use crate::SnapshotId;

const LOCK: &str = ".lock";
const PENDING_PREFIX: &str = ".tmp-";
const BURIED_PREFIX: &str = ".del-";

/// A directory of snapshots, and whether it may be changed.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Held by the writable one.
    lock: Option<Flock<File>>,
}

impl Directory {
    /// Makes, locks and cleans a directory.
    pub fn open_writable(path: &Path) -> Result<Self, StoreError> {
        files::make_dirs(path)?;
        let lock = Some(lock(path)?);
        let directory = Self {
            path: path.to_owned(),
            lock,
        };
        directory.names().prepare()?;
        directory.clean()?;
        Ok(directory)
    }

    /// Only looks whether it is there.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        files::entries(path)?;
        Ok(Self {
            path: path.to_owned(),
            lock: None,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn is_read_only(&self) -> bool {
        self.lock.is_none()
    }

    pub fn names(&self) -> Names {
        Names::of(&self.path)
    }

    pub fn snapshot(&self, id: &SnapshotId) -> PathBuf {
        self.path.join(id.as_str())
    }

    /// Where the snapshot is made.
    pub fn pending(&self, id: &SnapshotId) -> PathBuf {
        self.path.join(format!("{PENDING_PREFIX}{id}"))
    }

    pub fn contains(&self, id: &SnapshotId) -> bool {
        fs::symlink_metadata(self.snapshot(id)).is_ok_and(|entry| entry.is_dir())
    }

    /// The ids of all snapshots, damaged or not.
    pub fn ids(&self) -> Result<Vec<SnapshotId>, StoreError> {
        let ids = files::entries(&self.path)?
            .into_iter()
            .filter_map(|name| SnapshotId::new(name).ok());
        Ok(ids.filter(|id| self.contains(id)).collect())
    }

    /// Makes a snapshot disappear. Answers what is left to be removed.
    pub fn bury(&self, id: &SnapshotId) -> Result<PathBuf, StoreError> {
        let grave = self.path.join(format!("{BURIED_PREFIX}{id}"));
        files::remove_dir(&grave)?;
        files::rename(&self.snapshot(id), &grave)?;
        files::sync(&self.path)?;
        Ok(grave)
    }

    /// Removes what a process that died left half done.
    fn clean(&self) -> Result<(), StoreError> {
        for name in files::entries(&self.path)? {
            if name.starts_with(PENDING_PREFIX) || name.starts_with(BURIED_PREFIX) {
                tracing::info!(directory = %self.path.display(), name, "removing a leftover");
                files::remove_dir(&self.path.join(name))?;
            }
        }
        self.names().clean(|id| self.contains(id))
    }
}

/// Locks until the file is closed, which the kernel does when the process dies.
fn lock(path: &Path) -> Result<Flock<File>, StoreError> {
    let path_of_lock = path.join(LOCK);
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path_of_lock)
        .map_err(StoreError::io("open", &path_of_lock))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => StoreError::Locked(path.to_owned()),
        errno => StoreError::io("lock", &path_of_lock)(errno.into()),
    })
}
