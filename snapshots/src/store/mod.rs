//! Directories of snapshots.
//!
//! ```text
//! <store>/
//!   .lock                   held by the process that has the store open
//!   .tmp-<id>/              a snapshot in the making; removed at the next start
//!   .del-<id>/              a deleted one; removed at the next start
//!   <id>/                   a snapshot: never changed once it has this name
//!     manifest.json  memory  state
//!     disk-<n>.layer  disk-<n>.bitmap
//!   names/<name>            a symbolic link whose target is an id
//! ```
//!
//! A snapshot appears and disappears by one rename, after everything in it has been synced. A name
//! is given, moved and taken away by one rename too, which is why names are not in the manifest: a
//! snapshot is immutable and can be copied between hosts as a directory.
//!
//! One directory is writable; any number of others, looked at in order after it, are only read:
//! snapshots that came with an image, for example. Entries that are neither an id nor one of the
//! above are ignored.

mod directory;
mod error;
mod files;
mod listing;
mod names;
mod pending;
mod snapshot;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use directory::Directory;
pub use error::StoreError;
pub use listing::{Entry, Listing};
pub use pending::Pending;
pub use snapshot::Snapshot;

use crate::{SnapshotId, SnapshotName};

/// One writable directory of snapshots and any number of read-only ones. Clones share one state.
///
/// All methods block on the file system.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writable: Directory,
    read_only: Vec<Directory>,
    /// Held while snapshots appear or disappear and while names change hands.
    changes: Mutex<()>,
}

/// A name to give to a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// The name.
    pub name: SnapshotName,
    /// Take it from the snapshot that has it.
    pub replace: bool,
}

impl Store {
    /// Opens the store in `writable`, making the directory when it is missing, and removes what an
    /// earlier process left half done. Fails with [`StoreError::Locked`] while another process has
    /// it open. The directories of `read_only` must exist.
    pub fn open(writable: &Path, read_only: &[PathBuf]) -> Result<Self, StoreError> {
        let inner = Inner {
            writable: Directory::open_writable(writable)?,
            read_only: read_only
                .iter()
                .map(|path| Directory::open_read_only(path))
                .collect::<Result<_, _>>()?,
            changes: Mutex::new(()),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Begins a snapshot. Nobody sees it before [`Pending::commit`].
    pub fn begin(&self, id: SnapshotId) -> Result<Pending, StoreError> {
        Pending::new(self.clone(), id)
    }

    /// Opens the snapshot with this id or name.
    pub fn find(&self, id_or_name: &str) -> Result<Snapshot, StoreError> {
        let not_found = || StoreError::NotFound(id_or_name.chars().take(64).collect());
        let id = match SnapshotId::new(id_or_name) {
            Ok(id) => id,
            Err(_) => {
                let name = SnapshotName::new(id_or_name).map_err(|_| not_found())?;
                self.resolve(&name)?.ok_or_else(not_found)?
            }
        };
        let directory = self.directory_of(&id).ok_or_else(not_found)?;
        match Snapshot::open(directory, &id, self.name_of(&id)?) {
            // Deleted between two looks.
            Err(_) if !directory.contains(&id) => Err(not_found()),
            result => result,
        }
    }

    /// All snapshots of all directories, newest first. A damaged one does not hide the others.
    pub fn list(&self) -> Result<Listing, StoreError> {
        listing::list(self.directories())
    }

    /// Gives a snapshot a name, in place of the one it has.
    pub fn set_name(&self, id: &SnapshotId, naming: &Naming) -> Result<(), StoreError> {
        let _changes = self.changes();
        self.writable_holder(id)?;
        self.check_name(id, naming)?;
        self.inner.writable.names().set(&naming.name, id)
    }

    /// Takes a snapshot's name away, if it has one.
    pub fn clear_name(&self, id: &SnapshotId) -> Result<(), StoreError> {
        let _changes = self.changes();
        self.writable_holder(id)?.names().clear(id)
    }

    /// Deletes a snapshot. Whoever has opened it keeps its files.
    pub fn delete(&self, id: &SnapshotId) -> Result<(), StoreError> {
        let doomed = {
            let _changes = self.changes();
            let directory = self.writable_holder(id)?;
            let doomed = directory.bury(id)?;
            directory.names().clear(id)?;
            doomed
        };
        files::remove_dir(&doomed)
    }

    /// The snapshot that a name belongs to. A name in an earlier directory hides those of later
    /// ones.
    fn resolve(&self, name: &SnapshotName) -> Result<Option<SnapshotId>, StoreError> {
        for directory in self.directories() {
            if let Some(id) = directory.names().get(name)?
                && directory.contains(&id)
            {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    fn name_of(&self, id: &SnapshotId) -> Result<Option<SnapshotName>, StoreError> {
        let Some(directory) = self.directory_of(id) else {
            return Ok(None);
        };
        for (name, holder) in directory.names().all()? {
            if holder == *id && self.resolve(&name)?.as_ref() == Some(id) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Whether `id` may have the name.
    fn check_name(&self, id: &SnapshotId, naming: &Naming) -> Result<(), StoreError> {
        match self.resolve(&naming.name)? {
            Some(holder) if holder != *id && !naming.replace => Err(StoreError::NameTaken {
                name: naming.name.clone(),
                holder,
            }),
            _ => Ok(()),
        }
    }

    /// The directory that has the snapshot, if it may be changed.
    fn writable_holder(&self, id: &SnapshotId) -> Result<&Directory, StoreError> {
        match self.directory_of(id) {
            None => Err(StoreError::NotFound(id.to_string())),
            Some(directory) if directory.is_read_only() => Err(StoreError::ReadOnly(id.clone())),
            Some(directory) => Ok(directory),
        }
    }

    fn directory_of(&self, id: &SnapshotId) -> Option<&Directory> {
        self.directories().find(|directory| directory.contains(id))
    }

    fn directories(&self) -> impl Iterator<Item = &Directory> {
        std::iter::once(&self.inner.writable).chain(&self.inner.read_only)
    }

    fn changes(&self) -> MutexGuard<'_, ()> {
        // It guards no data: every change is one rename.
        self.inner
            .changes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
