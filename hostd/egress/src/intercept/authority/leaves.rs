//! The leaves that an authority signed lately.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use super::certificate::LEAF_LIFE;

/// A guest chooses the names below a `*.host` rule: more than this are not remembered (about 1 KiB each).
const MAX_LEAVES: usize = 256;

#[derive(Default)]
pub(super) struct Leaves {
    by_host: HashMap<ServerName<'static>, (OffsetDateTime, Arc<CertifiedKey>)>,
}

impl Leaves {
    /// The leaf of `host`, unless half of its life is over.
    pub(super) fn get(
        &self,
        host: &ServerName<'static>,
        now: OffsetDateTime,
    ) -> Option<Arc<CertifiedKey>> {
        let (signed, leaf) = self.by_host.get(host)?;
        (now - *signed < LEAF_LIFE / 2 && now >= *signed).then(|| Arc::clone(leaf))
    }

    /// Remembers a leaf; a full memory forgets all, which costs a signature each and happens to abusers only.
    pub(super) fn insert(
        &mut self,
        host: ServerName<'static>,
        leaf: Arc<CertifiedKey>,
        now: OffsetDateTime,
    ) {
        if self.by_host.len() >= MAX_LEAVES && !self.by_host.contains_key(&host) {
            self.by_host.clear();
        }
        self.by_host.insert(host, (now, leaf));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_host.len()
    }
}
