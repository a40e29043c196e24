//! All snapshots at a glance.

use std::collections::{HashMap, HashSet};

use super::{StoreError, directory::Directory, snapshot};
use crate::manifest::Manifest;
use crate::{SnapshotId, SnapshotName};

/// A snapshot as a listing shows it: only its manifest has been read and checked.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it is.
    pub manifest: Manifest,
    /// Its name, when it has one.
    pub name: Option<SnapshotName>,
    /// It lives in a read-only store.
    pub read_only: bool,
}

/// What [`Store::list`](super::Store::list) found.
#[derive(Debug, Default)]
pub struct Listing {
    /// Newest first.
    pub entries: Vec<Entry>,
    /// Snapshots that cannot be used, each with the reason.
    pub damaged: Vec<(SnapshotId, StoreError)>,
}

/// Lists `directories`; what an earlier one has hides the same id or name in a later one.
pub(super) fn list<'a>(
    directories: impl Iterator<Item = &'a Directory>,
) -> Result<Listing, StoreError> {
    let mut listing = Listing::default();
    let (mut seen_ids, mut seen_names) = (HashSet::new(), HashSet::new());
    for directory in directories {
        let names = directory.names().all()?.into_iter();
        let mut names: HashMap<SnapshotId, SnapshotName> = names
            .filter(|(name, id)| directory.contains(id) && seen_names.insert(name.clone()))
            .map(|(name, id)| (id, name))
            .collect();
        for id in directory.ids()? {
            if !seen_ids.insert(id.clone()) {
                continue;
            }
            match snapshot::read_manifest(&directory.snapshot(&id), &id) {
                Ok(manifest) => listing.entries.push(Entry {
                    manifest,
                    name: names.remove(&id),
                    read_only: directory.is_read_only(),
                }),
                // Deleted between two looks.
                Err(_) if !directory.contains(&id) => {}
                Err(error) => listing.damaged.push((id, error)),
            }
        }
    }
    listing.entries.sort_by(|a, b| {
        let key = |entry: &Entry| {
            (
                entry.manifest.description.created_at_unix_ms,
                entry.manifest.id.clone(),
            )
        };
        key(b).cmp(&key(a))
    });
    Ok(listing)
}
