//! The snapshot store, off the async threads, with its errors in the daemon's words.

use std::io;
use std::sync::Arc;

use snapshots::manifest::{Manifest, ManifestError};
use snapshots::memory::MemoryError;
use snapshots::store::{Listing, Pending, Snapshot, Store, StoreError};
use snapshots::template::TemplateError;
use snapshots::{SnapshotId, SnapshotName};

use crate::error::{Error, Result, chain};
use crate::tenancy::Caller;

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

    /// Opens a snapshot of the caller's, or one that is everybody's, by id or name. An own name hides everybody's.
    pub async fn find(&self, caller: &Caller, id_or_name: &str) -> Result<Arc<Snapshot>> {
        let not_found = || Error::SnapshotNotFound(id_or_name.chars().take(64).collect());
        let reference = Reference::new(id_or_name).ok_or_else(not_found)?;
        if let (Some(organisation), Reference::Name(name)) = (caller.organisation(), reference) {
            // Nobody's name is known by that of its owner, but to the operator.
            if name.local() != name.as_str() {
                return Err(not_found());
            }
            let own = name.within(organisation.as_str());
            match self.open(own.map_err(|_| not_found())?.as_str()).await {
                Err(Error::SnapshotNotFound(_)) => {}
                found => return found,
            }
        }
        match self.open(id_or_name).await {
            Ok(snapshot) if sees(caller, snapshot.manifest()) => Ok(snapshot),
            Ok(_) | Err(Error::SnapshotNotFound(_)) => Err(not_found()),
            Err(error) => Err(error),
        }
    }

    /// Whether some snapshot has the name.
    pub async fn is_taken(&self, name: &SnapshotName) -> bool {
        self.open(name.as_str()).await.is_ok()
    }

    /// The snapshots that the caller may use: the usable ones and, for the operator, the damaged ones, whose owners nobody knows.
    pub async fn list(&self, caller: &Caller) -> Result<Listing> {
        let mut listing = self.blocking("", |store| store.list()).await?;
        for (id, error) in &listing.damaged {
            tracing::warn!(snapshot = %id, error = %chain(error), "a snapshot is unusable");
        }
        listing
            .entries
            .retain(|entry| sees(caller, &entry.manifest));
        if !caller.is_operator() {
            listing.damaged.clear();
        }
        Ok(listing)
    }

    /// Deletes a snapshot of the caller's by id or name and returns its id. The operator can delete one that is damaged, by its
    /// id.
    pub async fn delete(&self, caller: &Caller, id_or_name: &str) -> Result<SnapshotId> {
        let id = match SnapshotId::new(id_or_name) {
            Ok(id) if caller.is_operator() => id,
            _ => {
                let found = self.find(caller, id_or_name).await?;
                let manifest = found.manifest();
                if !caller.owns(manifest.description.organisation.as_deref()) {
                    caller.must_be_operator()?;
                }
                manifest.id.clone()
            }
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

    async fn open(&self, id_or_name: &str) -> Result<Arc<Snapshot>> {
        let name = id_or_name.to_owned();
        let found = self.blocking(id_or_name, move |store| store.find(&name));
        found.await.map(Arc::new)
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
        StoreError::NameTaken { name, .. } => {
            return Error::SnapshotNameTaken(name.local().to_owned());
        }
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

/// What a client names a snapshot by.
enum Reference {
    Id,
    Name(SnapshotName),
}

impl Reference {
    fn new(text: &str) -> Option<Self> {
        match SnapshotId::new(text) {
            Ok(_) => Some(Self::Id),
            Err(_) => SnapshotName::new(text).ok().map(Self::Name),
        }
    }
}

/// Whether it is the caller's, or everybody's.
fn sees(caller: &Caller, manifest: &Manifest) -> bool {
    let owner = manifest.description.organisation.as_deref();
    owner.is_none() || caller.owns(owner)
}
