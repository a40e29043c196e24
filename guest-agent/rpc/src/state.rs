//! What requests share: those of one client ([`State`]), and those of all ([`Shared`]).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::RUN;
use crate::connection::Outbox;
use crate::methods::handles::Handles;
use crate::methods::processes::Children;
use crate::streams::{Incoming, Outgoing};

/// Requests that can be aborted, at most: a client that never forgets one has all forgotten.
const MOST_ABORTS: usize = 4096;

/// What all clients of a sandbox share.
pub struct Shared {
    pub(crate) children: Children,
    /// Where other processes find what was exposed.
    pub(crate) run: PathBuf,
    variables: Mutex<BTreeMap<String, String>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self::in_directory(Path::new(RUN))
    }
}

impl Shared {
    /// With this directory in the place of [`RUN`].
    pub fn in_directory(run: &Path) -> Self {
        Self {
            children: Children::default(),
            run: run.to_owned(),
            // Those that are no text have no place in JSON.
            variables: Mutex::new(std::env::vars_os().filter_map(texts).collect()),
        }
    }

    /// The variables that programs are started with.
    pub(crate) fn variables(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.variables
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is one client's: gone with it.
pub(crate) struct State {
    pub(crate) shared: Arc<Shared>,
    pub(crate) outbox: Outbox,
    pub(crate) incoming: Incoming,
    pub(crate) outgoing: Outgoing,
    pub(crate) handles: Handles,
    aborts: Mutex<HashMap<u64, CancellationToken>>,
}

impl State {
    pub(crate) fn new(shared: Arc<Shared>, outbox: Outbox) -> Self {
        Self {
            shared,
            outbox,
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            handles: Handles::default(),
            aborts: Mutex::default(),
        }
    }

    /// What is cancelled when the request with this id is aborted; it may have been already.
    pub(crate) fn abort(&self, id: u64) -> CancellationToken {
        let mut aborts = self.aborts.lock().unwrap_or_else(PoisonError::into_inner);
        if aborts.len() >= MOST_ABORTS {
            aborts.clear();
        }
        aborts.entry(id).or_default().clone()
    }
}

fn texts((name, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}
