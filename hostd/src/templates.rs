//! Templates in memory: the guest memory of a snapshot, decompressed once and shared by its clones.
//!
//! Loading is single-flight: eight Creates of one cold snapshot decompress it once. What is least recently used goes
//! first when the cache is over its cap, but never what was just loaded: a template larger than the whole cap serves until
//! the next one comes. Sandboxes keep what they map, so an evicted template's pages stay as long as somebody runs on them.
//!
//! A template that the host has no memory for is refused before it is loaded: the kernel would end something else for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use snapshots::store::Snapshot;
use snapshots::template::Template;
use tokio::sync::OnceCell;

use crate::error::{Error, Result};
use crate::host::memory;
use crate::store::{store_error, template_error};

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
    /// What the loads under way are going to take, as far as is known.
    loading_bytes: u64,
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
            match cell.get_or_try_init(|| load(snapshot, slots.clone())).await {
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

    /// Sets memory for a load apart, for which the least recently used templates have to go when little is available. Gives
    /// what is available when it is not enough.
    fn make_room(&mut self, needed: u64, available: impl Fn() -> Option<u64>) -> Result<(), u64> {
        loop {
            // A kernel that does not say is not held against the snapshot.
            let free = available()
                .unwrap_or(u64::MAX)
                .saturating_sub(self.loading_bytes);
            if needed <= free {
                self.loading_bytes += needed;
                return Ok(());
            }
            if !self.evict_oldest_but(None) {
                return Err(free);
            }
        }
    }

    /// Books the size of a loaded template, then evicts others down to `cap`.
    fn settle(&mut self, id: &str, bytes: u64, cap: u64) {
        if let Some(slot) = self.by_snapshot.get_mut(id) {
            slot.bytes = bytes;
        }
        let total = |slots: &Self| {
            slots
                .by_snapshot
                .values()
                .map(|slot| slot.bytes)
                .sum::<u64>()
        };
        while total(self) > cap && self.evict_oldest_but(Some(id)) {}
    }

    /// Evicts the least recently used of the loaded templates, if there is one besides `kept`.
    fn evict_oldest_but(&mut self, kept: Option<&str>) -> bool {
        let loaded = self
            .by_snapshot
            .iter()
            .filter(|(id, slot)| slot.bytes > 0 && Some(id.as_str()) != kept);
        let Some(oldest) = loaded
            .min_by_key(|(_, slot)| slot.last_used)
            .map(|(id, _)| id.clone())
        else {
            return false;
        };
        tracing::debug!(snapshot = oldest, "template evicted");
        self.by_snapshot.remove(&oldest);
        true
    }
}

async fn load(snapshot: Arc<Snapshot>, slots: Arc<Mutex<Slots>>) -> Result<Arc<Template>> {
    let id = snapshot.manifest().id.to_string();
    let started = std::time::Instant::now();
    let loading = tokio::task::spawn_blocking(move || {
        let id = snapshot.manifest().id.as_str();
        let reader = snapshot.memory().map_err(|error| store_error(id, &error))?;
        // Before anybody runs on them: the vmm maps them as they are.
        snapshot
            .verify_layers()
            .map_err(|error| store_error(id, &error))?;
        let _apart = SetApart::take(&slots, id, reader.present_bytes())?;
        Template::load(&reader, None).map_err(|error| template_error(id, &error))
    });
    let template = loading
        .await
        .map_err(|error| Error::host("loading a template", &error))??;
    tracing::info!(snapshot = id, bytes = template.memory_bytes(), elapsed = ?started.elapsed(), "template loaded");
    Ok(Arc::new(template))
}

/// Memory that a load under way may fill. Then what it filled is no longer available anyway.
struct SetApart<'a> {
    slots: &'a Mutex<Slots>,
    bytes: u64,
}

impl<'a> SetApart<'a> {
    fn take(slots: &'a Mutex<Slots>, snapshot: &str, bytes: u64) -> Result<Self> {
        let taken = lock(slots).make_room(bytes, memory::available_bytes);
        taken.map_err(|available| Error::Memory {
            snapshot: snapshot.to_owned(),
            needed: bytes,
            available,
        })?;
        Ok(Self { slots, bytes })
    }
}

impl Drop for SetApart<'_> {
    fn drop(&mut self) {
        lock(self.slots).loading_bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: u64 = 100;

    fn with(sizes: &[(&str, u64)]) -> Slots {
        let mut slots = Slots::default();
        for (id, bytes) in sizes {
            slots.touch(id);
            slots.settle(id, *bytes, CAP);
        }
        slots
    }

    fn ids(slots: &Slots) -> Vec<&str> {
        let mut ids: Vec<&str> = slots.by_snapshot.keys().map(String::as_str).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut slots = with(&[("a", 40), ("b", 40)]);
        slots.touch("a");
        slots.touch("c");
        slots.settle("c", 40, CAP);
        assert_eq!(ids(&slots), ["a", "c"]);
    }

    #[test]
    fn what_was_just_loaded_stays_however_large_it_is() {
        let mut slots = with(&[("a", 40), ("huge", 1000)]);
        assert_eq!(ids(&slots), ["huge"]);
        slots.touch("b");
        slots.settle("b", 40, CAP);
        assert_eq!(ids(&slots), ["b"]);
    }

    #[test]
    fn a_load_that_does_not_fit_is_refused_after_all_others_went() {
        let mut slots = with(&[("a", 40), ("b", 40)]);
        assert_eq!(slots.make_room(50, || Some(60)), Ok(()));
        assert_eq!(ids(&slots), ["a", "b"]);
        assert_eq!(
            slots.make_room(20, || Some(60)),
            Err(10),
            "the first load still runs"
        );
        assert!(ids(&slots).is_empty());
        assert_eq!(slots.make_room(u64::MAX >> 1, || None), Ok(()));
    }
}
