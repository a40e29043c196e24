//! The snapshot store, off the async threads, with its errors in the daemon's words.

use std::io;
use std::sync::Arc;

use snapshots::manifest::ManifestError;
use snapshots::memory::MemoryError;
use snapshots::store::{Listing, Pending, Snapshot, Store, StoreError};
use snapshots::template::TemplateError;
use snapshots::{SnapshotId, SnapshotName};

use crate::error::{Error, Result, chain};

/// The store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SnapshotStore {
    store: Store,
}

impl SnapshotStore {
    /// Wraps an open store.
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Opens a snapshot by id or name.
    pub async fn find(&self, id_or_name: &str) -> Result<Arc<Snapshot>> {
        if !is_reference(id_or_name) {
            return Err(Error::SnapshotNotFound(
                id_or_name.chars().take(64).collect(),
            ));
        }
        let name = id_or_name.to_owned();
        self.blocking(id_or_name, move |store| store.find(&name))
            .await
            .map(Arc::new)
    }

    /// All snapshots, the usable and the damaged ones.
    pub async fn list(&self) -> Result<Listing> {
        let listing = self.blocking("", |store| store.list()).await?;
        for (id, error) in &listing.damaged {
            tracing::warn!(snapshot = %id, error = %chain(error), "a snapshot is unusable");
        }
        Ok(listing)
    }

    /// Deletes a snapshot by id or name and returns its id. By its id also one that is damaged.
    pub async fn delete(&self, id_or_name: &str) -> Result<SnapshotId> {
        let id = match SnapshotId::new(id_or_name) {
            Ok(id) => id,
            Err(_) => self.find(id_or_name).await?.manifest().id.clone(),
        };
        let deleted = id.clone();
        self.blocking(id_or_name, move |store| store.delete(&deleted))
            .await?;
        Ok(id)
    }

    /// Begins a snapshot: nobody sees it before it is committed, and nothing is left if it never is.
    pub async fn begin(&self, id: SnapshotId) -> Result<Pending> {
        let shown = id.to_string();
        self.blocking(&shown, move |store| store.begin(id)).await
    }

    /// Runs `work` on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        snapshot: &str,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T> {
        let store = self.store.clone();
        let result = tokio::task::spawn_blocking(move || work(&store)).await;
        result
            .map_err(|error| Error::host("using the snapshot store", &error))?
            .map_err(|error| store_error(snapshot, &error))
    }
}

/// Sorts the store's errors: what is wrong with the snapshot, and what with the host.
pub fn store_error(snapshot: &str, error: &StoreError) -> Error {
    let part = match error {
        StoreError::NotFound(name) => return Error::SnapshotNotFound(name.clone()),
        StoreError::NameTaken { name, .. } => return Error::SnapshotNameTaken(name.to_string()),
        StoreError::ReadOnly(id) => return Error::SnapshotReadOnly(id.to_string()),
        StoreError::Manifest {
            source: ManifestError::Version { .. },
            ..
        } => {
            return Error::SnapshotIncompatible {
                snapshot: snapshot.to_owned(),
                problem: chain(error),
                missing: Vec::new(),
            };
        }
        StoreError::Memory {
            source: MemoryError::Io(_),
            ..
        }
        | StoreError::Locked(_)
        | StoreError::Exists(_) => {
            return Error::host("using the snapshot store", error);
        }
        // A file that is not there is the snapshot's fault; one that cannot be read is not.
        StoreError::Io { source, path, .. } if source.kind() == io::ErrorKind::NotFound => {
            part(&path.to_string_lossy())
        }
        StoreError::Io { .. } => return Error::host("using the snapshot store", error),
        StoreError::Size { file, .. }
        | StoreError::Digest { file, .. }
        | StoreError::Machine { file, .. } => part(file),
        StoreError::Memory { .. } => "memory",
        StoreError::State { .. } => "state",
        StoreError::Disk { .. } | StoreError::NoLayer { .. } => "disk",
        _ => "manifest",
    };
    damaged(snapshot, part, error)
}

/// Which part of a snapshot a file is.
fn part(file: &str) -> &'static str {
    match file.rsplit('/').next() {
        Some("memory") => "memory",
        Some("state") => "state",
        Some(name) if name.starts_with("disk-") => "disk",
        _ => "manifest",
    }
}

/// Sorts the errors of loading memory.
pub fn template_error(snapshot: &str, error: &TemplateError) -> Error {
    match error {
        TemplateError::Memory(MemoryError::Io(_)) | TemplateError::Memfd(_) => {
            Error::host("loading a snapshot's memory", error)
        }
        _ => damaged(snapshot, "memory", error),
    }
}

fn damaged(snapshot: &str, part: &'static str, error: &(dyn std::error::Error + 'static)) -> Error {
    Error::SnapshotDamaged {
        snapshot: snapshot.to_owned(),
        part,
        problem: chain(error),
    }
}

fn is_reference(text: &str) -> bool {
    SnapshotId::new(text).is_ok() || SnapshotName::new(text).is_ok()
}
