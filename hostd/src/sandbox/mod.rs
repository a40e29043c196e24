//! One sandbox: a task owns it ([`actor`]), everybody else holds a [`Sandbox`], which asks the task and
//! shows what it published.
//!
//! ```text
//!              Create
//!                │
//!          ┌─────▼────┐   bad source, boot timeout, broken agent, vmm or guest dies,
//!          │ Creating ├──Kill, timeout, hostd stops─────────────────────────┐
//!          └─────┬────┘                                                      │
//!    restore     │ barrier                                                   │
//!    barrier ────┤                                                     ┌─────▼──────┐
//!          ┌─────▼────┐  Pause: freeze, stop vCPUs  ┌────────┐         │ dismantle: │
//!          │ Running  ├────────────────────────────►│ Paused ├────────►│ process,   │
//!          │          │◄────────────────────────────┤        │         │ cgroup,    │
//!          └─────┬────┘  Resume: vCPUs run, barrier └────────┘         │ directory  │
//!                └─────────────────────────────────────────────────────►            │
//!                                                                      └──┬──────┬──┘
//!                           Kill, timeout, power off, hostd stops ┌───────▼─┐  ┌─▼──────┐ vmm died, guest reset,
//!                                                                 │ Stopped │  │ Failed │ broken agent, host error
//!                                                                 └─────────┘  └────────┘
//! ```
//!
//! A snapshot is taken in Running (freeze, stop, save, run, barrier) or in Paused (save). When the guest does not freeze or
//! the save fails, the steps done are undone and the sandbox goes on; only when that fails too, or when the vmm does not stop
//! its vCPUs, is it Failed.
//!
//! **Invariant:** a sandbox is published as ended only after all it held is gone.
//! **Invariant:** a paused or saved guest's processes are frozen by its agent, so no snapshot holds a running one.

pub mod actor;
pub mod console;
mod create;
pub mod end;
pub mod machine;
pub mod plan;
pub mod record;
pub mod snapshot;
pub mod spec;
mod still;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::Agent;
use crate::error::{Error, Result};
use crate::id::SandboxId;
use crate::network::Attachment;
use crate::vmm::calls::Counters;
use record::{Phase, Record};
use snapshot::{SnapshotRequest, SnapshotTaken};

/// Requests that may wait for one sandbox's task.
const COMMAND_QUEUE: usize = 16;
/// How long a call waits for a snapshot in progress to let the sandbox run again.
const GATE_LIMIT: Duration = Duration::from_secs(60);

/// A handle to a living sandbox. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sandbox {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    record: watch::Receiver<Arc<Record>>,
}

/// What the handles and the task have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    id: SandboxId,
    agent: OnceLock<Agent>,
    network: OnceLock<Arc<Attachment>>,
    /// Whether the agent takes calls: not before the barrier, and not while frozen.
    open: watch::Sender<bool>,
    /// When it ends by itself.
    expires: watch::Sender<Option<Expiry>>,
    kill: CancellationToken,
}

/// What the task is asked to do. It answers, unless the sandbox ends first.
#[derive(Debug)]
pub(crate) enum Command {
    Pause(oneshot::Sender<Result<()>>),
    Resume(oneshot::Sender<Result<()>>),
    Extend(oneshot::Sender<Result<()>>),
    Snapshot(SnapshotRequest, oneshot::Sender<Result<SnapshotTaken>>),
    Counters(oneshot::Sender<Result<MachineFigures>>),
}

/// The end of a sandbox's time, as the timer takes it and as the record shows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry {
    at: Instant,
    shown: SystemTime,
}

impl Expiry {
    /// So far from now; `None` when that is never.
    fn after(timeout: Duration) -> Option<Self> {
        Some(Self {
            at: Instant::now().checked_add(timeout)?,
            shown: SystemTime::now().checked_add(timeout)?,
        })
    }
}

/// What the vmm says, and who it is.
#[derive(Clone, Debug)]
pub struct MachineFigures {
    /// Its counters.
    pub counters: Counters,
    /// Its process id.
    pub vmm_pid: i32,
}

impl Sandbox {
    /// Its id.
    pub fn id(&self) -> &SandboxId {
        &self.shared.id
    }

    /// As it is now.
    pub fn record(&self) -> Arc<Record> {
        self.record.borrow().clone()
    }

    /// Its network, when it has one and has passed its barrier.
    pub fn network(&self) -> Option<&Arc<Attachment>> {
        self.shared.network.get()
    }

    /// Waits until it has ended and all it held is gone.
    pub async fn ended(&self) -> Arc<Record> {
        let mut record = self.record.clone();
        // The task ends only after it has published the end, so the last value is the end in either case.
        match record.wait_for(|record| record.phase.has_ended()).await {
            Ok(record) => record.clone(),
            Err(_) => self.record(),
        }
    }

    /// Asks for its end without waiting for it.
    pub fn request_kill(&self) {
        self.shared.kill.cancel();
    }

    /// Ends it and waits until all it held is gone.
    pub async fn kill(&self) -> Arc<Record> {
        self.request_kill();
        self.ended().await
    }

    /// Stops it where it is. No error when it is paused already.
    pub async fn pause(&self) -> Result<Arc<Record>> {
        self.ask(Command::Pause).await.map(|()| self.record())
    }

    /// Lets it run. No error when it runs already.
    pub async fn resume(&self) -> Result<Arc<Record>> {
        self.ask(Command::Resume).await.map(|()| self.record())
    }

    /// Moves its end to `timeout` from now.
    pub async fn extend(&self, timeout: Duration) -> Result<Arc<Record>> {
        // At once, whatever the task is at; it then writes the record.
        self.shared.expires.send_replace(Expiry::after(timeout));
        self.ask(Command::Extend).await.map(|()| self.record())
    }

    /// Saves it; it goes on as it was.
    pub async fn snapshot(&self, request: SnapshotRequest) -> Result<SnapshotTaken> {
        self.ask(|answer| Command::Snapshot(request, answer)).await
    }

    /// Its machine's counters.
    pub async fn figures(&self) -> Result<MachineFigures> {
        self.ask(Command::Counters).await
    }

    /// Its agent, when it takes calls. Waits while a snapshot is being taken.
    ///
    /// # Errors
    /// [`Error::NotRunning`] in any other phase than Running, also when it is paused meanwhile; [`Error::StandsStill`] when
    /// the snapshot takes too long.
    pub async fn agent(&self) -> Result<Agent> {
        let mut open = self.shared.open.subscribe();
        let mut record = self.record.clone();
        let waiting = async {
            loop {
                let is_open = *open.borrow_and_update();
                let phase = record.borrow_and_update().phase.clone();
                match (phase, self.shared.agent.get()) {
                    (Phase::Running, Some(agent)) if is_open => return Ok(agent.clone()),
                    (Phase::Running, _) => {}
                    (phase, _) => return Err(self.not_running(phase)),
                }
                tokio::select! {
                    _ = open.changed() => {}
                    changed = record.changed() => if changed.is_err() {
                        // The task is gone, and published no more.
                        return Err(self.not_running(self.record().phase.clone()));
                    }
                }
            }
        };
        let stands_still = |_| Error::StandsStill {
            id: self.id().clone(),
            limit: GATE_LIMIT,
        };
        tokio::time::timeout(GATE_LIMIT, waiting)
            .await
            .map_err(stands_still)?
    }

    fn not_running(&self, phase: Phase) -> Error {
        Error::NotRunning {
            id: self.id().clone(),
            phase,
        }
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(command(answer)).await.is_ok()
            && let Ok(result) = answered.await
        {
            return result;
        }
        let phase = self.ended().await.phase.clone();
        Err(Error::Ended {
            id: self.id().clone(),
            phase,
        })
    }
}
