//! Templates in memory: the guest memory of a snapshot, decompressed once and shared by its clones.
//!
//! Loading is single-flight: eight Creates of one cold snapshot decompress it once. What is least recently used goes
//! first when the cache is over its cap. Sandboxes keep what they map, so an evicted template's pages stay as long as
//! somebody runs on them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use snapshots::store::Snapshot;
use snapshots::template::Template;
use tokio::sync::OnceCell;

use crate::error::{Error, Result};
use crate::store::template_error;

/// The cache.
#[derive(Debug)]
pub struct Templates {
    cap_bytes: u64,
    slots: Arc<Mutex<Slots>>,
}

#[derive(Debug, Default)]
struct Slots {
    by_snapshot: HashMap<String, Slot>,
    clock: u64,
}

#[derive(Debug)]
struct Slot {
    template: Arc<OnceCell<Arc<Template>>>,
    bytes: u64,
    last_used: u64,
}

impl Templates {
    /// A cache that keeps at most `cap_bytes` of templates.
    pub fn new(cap_bytes: u64) -> Self {
        Self {
            cap_bytes,
            slots: Arc::default(),
        }
    }

    /// The template of a snapshot, loaded now if it must be. A load goes on when its caller gives up: the next caller finds it
    /// under way, instead of starting another beside it.
    pub async fn get(&self, snapshot: &Arc<Snapshot>) -> Result<Arc<Template>> {
        let id = snapshot.manifest().id.to_string();
        let cell = lock(&self.slots).touch(&id);
        if let Some(template) = cell.get() {
            return Ok(template.clone());
        }
        let (slots, snapshot, cap) = (self.slots.clone(), snapshot.clone(), self.cap_bytes);
        let loading = tokio::spawn(async move {
            match cell.get_or_try_init(|| load(snapshot)).await {
                Ok(template) => {
                    let bytes = template.resident_bytes().unwrap_or(template.memory_bytes());
                    lock(&slots).settle(&id, bytes, cap);
                    Ok(template.clone())
                }
                Err(error) => {
                    lock(&slots).drop_empty(&id, &cell);
                    Err(error)
                }
            }
        });
        loading
            .await
            .map_err(|error| Error::host("loading a template", &error))?
    }

    /// Drops the template of a snapshot that is no more.
    pub fn forget(&self, snapshot_id: &str) {
        lock(&self.slots).by_snapshot.remove(snapshot_id);
    }
}

fn lock(slots: &Mutex<Slots>) -> MutexGuard<'_, Slots> {
    slots.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slots {
    fn touch(&mut self, id: &str) -> Arc<OnceCell<Arc<Template>>> {
        self.clock += 1;
        let last_used = self.clock;
        let slot = self
            .by_snapshot
            .entry(id.to_owned())
            .or_insert_with(|| Slot {
                template: Arc::default(),
                bytes: 0,
                last_used,
            });
        slot.last_used = last_used;
        slot.template.clone()
    }

    /// After a failed load: so that the next Create tries again, unless somebody already does.
    fn drop_empty(&mut self, id: &str, cell: &Arc<OnceCell<Arc<Template>>>) {
        let same = |slot: &Slot| Arc::ptr_eq(&slot.template, cell);
        if !cell.initialized() && self.by_snapshot.get(id).is_some_and(same) {
            self.by_snapshot.remove(id);
        }
    }

    /// Books the size of a loaded template, then evicts down to `cap`.
    fn settle(&mut self, id: &str, bytes: u64, cap: u64) {
        if let Some(slot) = self.by_snapshot.get_mut(id) {
            slot.bytes = bytes;
        }
        while self
            .by_snapshot
            .values()
            .map(|slot| slot.bytes)
            .sum::<u64>()
            > cap
        {
            let loaded = self.by_snapshot.iter().filter(|(_, slot)| slot.bytes > 0);
            let Some(oldest) = loaded
                .min_by_key(|(_, slot)| slot.last_used)
                .map(|(id, _)| id.clone())
            else {
                return;
            };
            tracing::debug!(snapshot = oldest, "template evicted");
            self.by_snapshot.remove(&oldest);
        }
    }
}

async fn load(snapshot: Arc<Snapshot>) -> Result<Arc<Template>> {
    let id = snapshot.manifest().id.to_string();
    let started = std::time::Instant::now();
    let loading = tokio::task::spawn_blocking(move || {
        let reader = snapshot
            .memory()
            .map_err(|error| crate::store::store_error(snapshot.manifest().id.as_str(), &error))?;
        Template::load(&reader, None)
            .map_err(|error| template_error(snapshot.manifest().id.as_str(), &error))
    });
    let template = loading
        .await
        .map_err(|error| Error::host("loading a template", &error))??;
    tracing::info!(snapshot = id, bytes = template.memory_bytes(), elapsed = ?started.elapsed(), "template loaded");
    Ok(Arc::new(template))
}
