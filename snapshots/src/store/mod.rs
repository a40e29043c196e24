//! Directories of snapshots.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::LayerFiles;
use crate::manifest::{Description, Manifest, ManifestError};
use crate::memory::MemoryReader;
use crate::{SnapshotId, SnapshotName};

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No snapshot has this id or name.
    #[error("no snapshot {0:?}")]
    NotFound(String),
    /// Another snapshot has this name.
    #[error("the name {name} belongs to snapshot {holder}")]
    NameTaken {
        /// The name asked for.
        name: SnapshotName,
        /// Who has it.
        holder: SnapshotId,
    },
    /// The snapshot lives in a read-only store.
    #[error("snapshot {0} is in a read-only store")]
    ReadOnly(SnapshotId),
    /// Another process uses this store.
    #[error("{0} is in use by another process")]
    Locked(PathBuf),
    /// The manifest is damaged or of another version.
    #[error("the manifest of {id} is damaged")]
    Manifest {
        /// Whose manifest.
        id: SnapshotId,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The file system said no.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// One writable directory of snapshots and any number of read-only ones. Clones share one state.
#[derive(Clone, Debug)]
pub struct Store {}

/// A name to give to a new snapshot.
#[derive(Clone, Debug)]
pub struct Naming {
    /// The name.
    pub name: SnapshotName,
    /// Take it from the snapshot that has it.
    pub replace: bool,
}

/// A snapshot as a listing shows it: only the manifest has been read.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub manifest: Manifest,
    /// Its name, when it has one.
    pub name: Option<SnapshotName>,
    /// It lives in a read-only store.
    pub read_only: bool,
}

/// What [`Store::list`] found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Snapshots that cannot be used, each with the reason.
    pub damaged: Vec<StoreError>,
}

impl Store {
    /// Opens the store in `writable`, making the directory when it is missing, and removes what an earlier
    /// process left half done. Fails with [`StoreError::Locked`] while another process has it open.
    /// Directories of `read_only` are looked at in order, after `writable`.
    pub fn open(_writable: &Path, _read_only: &[PathBuf]) -> Result<Self, StoreError> {
        unimplemented!()
    }

    /// Begins a snapshot. Nobody sees it before [`Pending::commit`].
    pub fn begin(&self, _id: SnapshotId) -> Result<Pending, StoreError> {
        unimplemented!()
    }

    /// Opens the snapshot with this id or name.
    pub fn find(&self, _id_or_name: &str) -> Result<Snapshot, StoreError> {
        unimplemented!()
    }

    /// All snapshots of all stores.
    pub fn list(&self) -> Result<Listing, StoreError> {
        unimplemented!()
    }

    /// Gives a snapshot a name, in place of the one it has.
    pub fn set_name(&self, _id: &SnapshotId, _naming: &Naming) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Takes a snapshot's name away, if it has one.
    pub fn clear_name(&self, _id: &SnapshotId) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Deletes a snapshot. Whoever has opened it keeps its files.
    pub fn delete(&self, _id: &SnapshotId) -> Result<(), StoreError> {
        unimplemented!()
    }
}

/// A snapshot in the making. Dropped without [`commit`](Pending::commit) it is removed.
#[derive(Debug)]
pub struct Pending {
    _store: Store,
}

impl Pending {
    /// Creates `memory`, empty.
    pub fn memory(&self) -> Result<File, StoreError> {
        unimplemented!()
    }

    /// Creates `state`, empty.
    pub fn state(&self) -> Result<File, StoreError> {
        unimplemented!()
    }

    /// Creates `disk-<n>.layer` and `disk-<n>.bitmap`, empty, for the disk at position `disk`.
    pub fn layer(&self, _disk: u32) -> Result<LayerFiles, StoreError> {
        unimplemented!()
    }

    /// Checks and measures the files, writes the manifest, syncs everything, and makes the snapshot visible.
    /// Blocking and long: it reads the state and the disk layers.
    pub fn commit(
        self,
        _description: Description,
        _naming: Option<&Naming>,
    ) -> Result<Snapshot, StoreError> {
        unimplemented!()
    }
}

/// An open snapshot: manifest, sizes, state and bitmaps have been checked. It stays usable when the snapshot is
/// deleted meanwhile.
#[derive(Debug)]
pub struct Snapshot {}

impl Snapshot {
    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        unimplemented!()
    }

    /// Its name when it was opened.
    pub fn name(&self) -> Option<&SnapshotName> {
        unimplemented!()
    }

    /// It lives in a read-only store.
    pub fn read_only(&self) -> bool {
        unimplemented!()
    }

    /// Its memory; header and index are checked, and agree with the manifest.
    pub fn memory(&self) -> Result<MemoryReader, StoreError> {
        unimplemented!()
    }

    /// Its state file, for [`read_state`](crate::state::read_state).
    pub fn state(&self) -> Result<File, StoreError> {
        unimplemented!()
    }

    /// The layer of the disk at position `disk`.
    pub fn layer(&self, _disk: u32) -> Result<LayerFiles, StoreError> {
        unimplemented!()
    }

    /// Reads and checks every byte.
    pub fn verify(&self) -> Result<(), StoreError> {
        unimplemented!()
    }
}
