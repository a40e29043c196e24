//! [`Uses`]: what became of the secrets of one request.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::audit::SecretName;

/// How often each secret was put into one request, and which were asked for in vain.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    counts: Vec<AtomicU32>,
    wanted: Mutex<BTreeSet<usize>>,
    withheld: Mutex<Vec<SecretName>>,
    names: Vec<SecretName>,
}

impl Uses {
    /// Of secrets with these names; each is known by its place among them.
    pub(super) fn of(names: Vec<SecretName>) -> Self {
        Self {
            counts: names.iter().map(|_| AtomicU32::new(0)).collect(),
            names,
            ..Self::default()
        }
    }

    /// One that something has to be made of first.
    pub(super) fn want(&self, index: usize) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.insert(index);
    }

    /// Those.
    pub(super) fn wanted(&self) -> BTreeSet<usize> {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.clone()
    }

    /// One that is put in, if it has not been so often already.
    pub(super) fn take(&self, index: usize, most: u32) -> bool {
        let count = self.counts.get(index);
        count.is_some_and(|count| count.fetch_add(1, Ordering::Relaxed) < most)
    }

    /// One that is not.
    pub(super) fn withhold(&self, name: &SecretName) {
        let mut withheld = self.withheld.lock().unwrap_or_else(PoisonError::into_inner);
        if !withheld.contains(name) {
            withheld.push(name.clone());
        }
    }

    /// The secrets that were put in.
    pub(crate) fn used(&self) -> Vec<SecretName> {
        let counted = self.names.iter().zip(&self.counts);
        let used = counted.filter(|(_, count)| count.load(Ordering::Relaxed) > 0);
        used.map(|(name, _)| name.clone()).collect()
    }

    /// How much has happened so far: it only grows.
    pub(crate) fn events(&self) -> u64 {
        let counts = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let withheld = self.withheld.lock().unwrap_or_else(PoisonError::into_inner);
        counts.map(u64::from).sum::<u64>() + withheld.len() as u64
    }

    /// The secrets that were asked for in vain: for another host, or in another place.
    pub(crate) fn withheld(&self) -> Vec<SecretName> {
        self.withheld
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
