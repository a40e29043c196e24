//! All programs that the agent knows: those that run, and the last ones that ended.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::types::v1 as wire;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};

use super::process::Process;
use crate::status::refused;

/// Programs that run at once, at most. Each costs the agent up to three descriptors and 2 MiB of output that nobody
/// takes.
const MAX_RUNNING: usize = 1024;
/// Ended programs that are remembered.
const MAX_ENDED: usize = 256;
/// Output of ended programs that is kept for a late attachment, in bytes, all together.
const MAX_ENDED_BYTES: usize = 8 << 20;

/// All programs.
pub struct Table {
    inner: Mutex<Inner>,
    running: Arc<Semaphore>,
}

#[derive(Default)]
struct Inner {
    /// By process id.
    running: HashMap<u32, Arc<Process>>,
    /// Oldest first.
    ended: VecDeque<Arc<Process>>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            running: Arc::new(Semaphore::new(MAX_RUNNING)),
        }
    }
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave to start one more.
    pub(super) fn permit(&self) -> Result<OwnedSemaphorePermit, Status> {
        self.running.clone().try_acquire_owned().map_err(|_| {
            let message = format!("{MAX_RUNNING} processes of the API run already");
            refused(Code::ResourceExhausted, "TOO_MANY_PROCESSES", message)
        })
    }

    /// Adds one that has just started. An ended one with its number is forgotten.
    pub(super) fn insert(&self, process: Arc<Process>) {
        let mut inner = self.lock();
        inner
            .ended
            .retain(|ended| ended.number() != process.number());
        inner.running.insert(process.number(), process);
    }

    /// Finds one that runs or is remembered.
    pub(super) fn find(&self, pid: u32) -> Result<Arc<Process>, Status> {
        let inner = self.lock();
        let ended = || inner.ended.iter().find(|ended| ended.number() == pid);
        let found = inner.running.get(&pid).or_else(ended).cloned();
        found.ok_or_else(|| {
            let message = format!("no process {pid} was started here, or it is forgotten");
            refused(Code::NotFound, "PROCESS_NOT_FOUND", message)
        })
    }

    /// Reaps one if it has ended, and moves it to the remembered; `false` if it runs.
    ///
    /// Under the table's lock, so that its number cannot come back as a new process in between.
    pub(super) fn reap(&self, process: &Arc<Process>) -> bool {
        let mut inner = self.lock();
        if !process.reap() {
            return false;
        }
        inner.running.remove(&process.number());
        inner.ended.push_back(process.clone());
        while inner.ended.len() > MAX_ENDED {
            inner.ended.pop_front();
        }
        true
    }

    /// Lets go of the oldest output when ended programs hold too much.
    pub(super) fn trim(&self) {
        let inner = self.lock();
        let mut held: usize = inner
            .ended
            .iter()
            .map(|process| process.outlet.held())
            .sum();
        for process in &inner.ended {
            if held <= MAX_ENDED_BYTES {
                return;
            }
            held -= process.outlet.held().min(held);
            process.outlet.forget();
        }
    }

    /// Everything that is known, by start time.
    pub(super) fn list(&self) -> Vec<wire::ProcessInfo> {
        let mut all: Vec<Arc<Process>> = {
            let inner = self.lock();
            inner
                .ended
                .iter()
                .chain(inner.running.values())
                .cloned()
                .collect()
        };
        all.sort_by_key(|process| process.description.started_at);
        all.iter().map(|process| process.info()).collect()
    }
}
