//! What can go wrong in a store.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::DiskError;
use crate::manifest::ManifestError;
use crate::memory::MemoryError;
use crate::state::StateError;
use crate::{SnapshotId, SnapshotName};

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No snapshot has this id or name.
    #[error("no snapshot {0:?}")]
    NotFound(String),
    /// The id has been used.
    #[error("snapshot {0} exists")]
    Exists(SnapshotId),
    /// Another snapshot has this name.
    #[error("the name {name} belongs to snapshot {holder}")]
    NameTaken {
        /// The name asked for.
        name: SnapshotName,
        /// Who has it.
        holder: SnapshotId,
    },
    /// The snapshot lives in a read-only directory.
    #[error("snapshot {0} is in a read-only store")]
    ReadOnly(SnapshotId),
    /// Another process uses this store.
    #[error("{0} is in use by another process")]
    Locked(PathBuf),
    /// The manifest is damaged, of another version, or cannot be written as it is.
    #[error("the manifest of snapshot {id} cannot be used")]
    Manifest {
        /// Whose.
        id: SnapshotId,
        /// What is wrong.
        source: ManifestError,
    },
    /// The manifest is of another snapshot.
    #[error("the manifest of snapshot {id} is of {found}")]
    OtherSnapshot {
        /// The directory's name.
        id: SnapshotId,
        /// What the manifest says.
        found: SnapshotId,
    },
    /// A file is not as long as the manifest says.
    #[error("{file} of snapshot {id} has {found} bytes, not {expected}")]
    Size {
        /// Whose.
        id: SnapshotId,
        /// Which file.
        file: String,
        /// What the manifest says.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// A file is not the one that the manifest speaks of.
    #[error("{file} of snapshot {id} does not have the digest in its manifest")]
    Digest {
        /// Whose.
        id: SnapshotId,
        /// Which file.
        file: String,
    },
    /// A file does not fit the machine that the manifest describes.
    #[error("{file} of snapshot {id} is of {found} bytes, the machine has {expected}")]
    Machine {
        /// Whose.
        id: SnapshotId,
        /// Which file.
        file: String,
        /// Bytes of the machine's memory or disk.
        expected: u64,
        /// What the file is of.
        found: u64,
    },
    /// The memory file is damaged.
    #[error("the memory of snapshot {id} cannot be used")]
    Memory {
        /// Whose.
        id: SnapshotId,
        /// What is wrong.
        source: MemoryError,
    },
    /// The state file is damaged.
    #[error("the state of snapshot {id} cannot be used")]
    State {
        /// Whose.
        id: SnapshotId,
        /// What is wrong.
        source: StateError,
    },
    /// A disk layer is damaged.
    #[error("disk {disk} of snapshot {id} cannot be used")]
    Disk {
        /// Whose.
        id: SnapshotId,
        /// Position of the disk.
        disk: u32,
        /// What is wrong.
        source: DiskError,
    },
    /// The snapshot has no layer of this disk.
    #[error("snapshot {id} has no layer of disk {disk}")]
    NoLayer {
        /// Whose.
        id: SnapshotId,
        /// Position of the disk.
        disk: u32,
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

impl StoreError {
    /// For `map_err`.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
