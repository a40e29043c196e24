//! All programs that the agent knows: those that run, and the last ones that ended.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::types::v1 as wire;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status};

use super::budget::Budget;
use super::process::Process;
use crate::status::refused;

/// Programs that run at once, at most. Each costs the agent up to three descriptors, and output that nobody takes
/// within the [`budget`](super::budget).
const MAX_RUNNING: usize = 1024;
/// Ended programs that are remembered.
const MAX_ENDED: usize = 256;

/// All programs.
pub struct Table {
    inner: Mutex<Inner>,
    running: Arc<Semaphore>,
    budget: Arc<Budget>,
}

#[derive(Default)]
struct Inner {
    /// By process id.
    running: HashMap<u32, Arc<Process>>,
    /// Oldest first.
    ended: VecDeque<Arc<Process>>,
}

impl Table {
    /// No programs, on a machine with so much memory, in bytes.
    pub fn new(memory_bytes: u64) -> Self {
        Self {
            inner: Mutex::default(),
            running: Arc::new(Semaphore::new(MAX_RUNNING)),
            budget: Arc::new(Budget::new(memory_bytes)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the output that is kept of them.
    pub(super) fn budget(&self) -> &Arc<Budget> {
        &self.budget
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

    /// Gives up the oldest output when ended programs keep too much. Called whenever one of them may keep more.
    pub(super) fn trim(&self) {
        let inner = self.lock();
        let kept: Vec<usize> = inner
            .ended
            .iter()
            .map(|process| process.outlet.kept())
            .collect();
        let mut excess = kept
            .iter()
            .sum::<usize>()
            .saturating_sub(self.budget.for_ended());
        for (process, kept) in inner.ended.iter().zip(kept) {
            if excess == 0 {
                return;
            }
            process.outlet.forget();
            excess = excess.saturating_sub(kept);
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use nix::unistd::Pid;

    use super::super::outlet::{Outlet, Source};
    use super::super::process::{Description, Stdin};
    use super::*;

    /// A program that has written so much and ended. It is no child of ours, which counts as killed.
    fn ended(table: &Table, pid: i32, bytes: usize) -> Arc<Process> {
        let description = Description {
            pid: Pid::from_raw(i32::MAX - pid),
            program: String::new(),
            args: Vec::new(),
            started_at: SystemTime::UNIX_EPOCH,
            pty: false,
            kill_on_disconnect: false,
        };
        let outlet = Outlet::new(true, false, table.budget());
        let process = Arc::new(Process::new(description, outlet, Stdin::None, None));
        table.insert(process.clone());
        process.outlet.push(Source::Stdout, &vec![0; bytes]);
        assert!(table.reap(&process));
        process.outlet.end(Source::Stdout);
        table.trim();
        process
    }

    #[test]
    fn the_oldest_output_of_ended_programs_is_given_up_first() {
        let table = Table::new(0);
        let limit = table.budget().for_ended();
        let [first, second, third] = [0, 1, 2].map(|pid| ended(&table, pid, limit / 3));
        assert_eq!(first.outlet.kept(), limit / 3);
        let last = ended(&table, 3, limit / 3);
        assert_eq!(first.outlet.kept(), 0);
        assert_eq!(first.outlet.attach().stdout_dropped, limit as u64 / 3);
        for (process, kept) in [(second, limit / 3), (third, limit / 3), (last, limit / 3)] {
            assert_eq!(process.outlet.kept(), kept);
            assert_eq!(process.outlet.attach().stdout_dropped, 0);
        }
    }

    #[test]
    fn what_a_client_leaves_of_an_ended_program_counts_again() {
        let table = Table::new(0);
        let limit = table.budget().for_ended();
        let first = ended(&table, 0, limit / 2);
        let seat = first.outlet.attach();
        let second = ended(&table, 1, limit);
        assert_eq!((first.outlet.kept(), second.outlet.kept()), (0, limit));
        first.outlet.detach(seat.serial);
        table.trim();
        assert_eq!((first.outlet.kept(), second.outlet.kept()), (0, limit));
        assert_eq!(first.outlet.attach().stdout_dropped, limit as u64 / 2);
    }

    #[test]
    fn what_is_no_longer_remembered_keeps_nothing() {
        let table = Table::new(0);
        for pid in 0..=MAX_ENDED {
            ended(&table, i32::try_from(pid).unwrap(), 10);
        }
        let kept = |process: &Arc<Process>| process.outlet.kept();
        assert_eq!(
            table.lock().ended.iter().map(kept).sum::<usize>(),
            10 * MAX_ENDED
        );
        assert_eq!(table.budget().taken(), 10 * MAX_ENDED);
    }
}
