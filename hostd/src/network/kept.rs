//! The secrets of sandboxes that were saved, for those that are restored from them.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use egress::secrets::Bindings;
use lru::LruCache;
use snapshots::SnapshotId;

/// Snapshots whose secrets are remembered, the latest used first.
const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// In memory alone: a hostd that starts again has none.
#[derive(Debug)]
pub struct Kept(Mutex<LruCache<SnapshotId, Arc<Bindings>>>);

impl Default for Kept {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MOST)))
    }
}

impl Kept {
    /// The sandbox had these when it was saved.
    pub fn keep(&self, snapshot: SnapshotId, secrets: Arc<Bindings>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.put(snapshot, secrets);
    }

    /// What the saved sandbox had, if that is known.
    pub fn of(&self, snapshot: &SnapshotId) -> Option<Arc<Bindings>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(snapshot).cloned()
    }

    /// The snapshot is gone.
    pub fn forget(&self, snapshot: &SnapshotId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.pop(snapshot);
    }
}
