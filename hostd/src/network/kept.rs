//! The secrets of sandboxes that were saved, for those that are restored from them.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use egress::secrets::Bindings;
use lru::LruCache;
use snapshots::SnapshotId;

/// Snapshots of one organisation whose secrets are remembered, the latest used first: nobody pushes out another's.
const MOST: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// In memory alone: a hostd that starts again has none.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Secrets>);

/// By owner: an organisation's name, or nothing for the operator.
type Secrets = HashMap<Option<String>, LruCache<SnapshotId, Arc<Bindings>>>;

impl Kept {
    /// The sandbox had these when it was saved.
    pub fn keep(&self, owner: Option<&str>, snapshot: SnapshotId, secrets: Arc<Bindings>) {
        let mut all = self.lock();
        let own = all
            .entry(owner.map(str::to_owned))
            .or_insert_with(|| LruCache::new(MOST));
        own.put(snapshot, secrets);
    }

    /// What the saved sandbox had, if that is known.
    pub fn of(&self, owner: Option<&str>, snapshot: &SnapshotId) -> Option<Arc<Bindings>> {
        let mut all = self.lock();
        all.get_mut(&owner.map(str::to_owned))?
            .get(snapshot)
            .cloned()
    }

    /// The snapshot is gone.
    pub fn forget(&self, snapshot: &SnapshotId) {
        self.lock().retain(|_, own| {
            own.pop(snapshot);
            !own.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, Secrets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(number: usize) -> SnapshotId {
        SnapshotId::new(format!("snp_{number:026}")).unwrap()
    }

    fn none() -> Arc<Bindings> {
        Arc::new(Bindings::new(Vec::new()).unwrap())
    }

    #[test]
    fn nobody_pushes_out_what_is_anothers() {
        let kept = Kept::default();
        let [first, others] = [0, 1].map(snapshot);
        kept.keep(None, first.clone(), none());
        kept.keep(Some("acme"), others.clone(), none());
        for number in 0..MOST.get() {
            kept.keep(Some("acme"), snapshot(2 + number), none());
        }
        assert!(kept.of(None, &first).is_some());
        assert!(kept.of(Some("acme"), &first).is_none());
        assert!(kept.of(Some("acme"), &others).is_none());
    }

    #[test]
    fn what_is_forgotten_leaves_nothing() {
        let kept = Kept::default();
        let snapshot = snapshot(0);
        kept.keep(Some("acme"), snapshot.clone(), none());
        kept.forget(&snapshot);
        assert!(kept.of(Some("acme"), &snapshot).is_none());
        assert!(kept.lock().is_empty());
    }
}
