//! When the guest may act.
//!
//! ```text
//!             Enter(new epoch)
//!   Booted ────────────────────► Running ◄──┐ Enter(new epoch): restored without a freeze
//!     │                           │    ▲ └──┘
//!     │ Freeze             Freeze │    │ Enter(new epoch): this is a restored machine
//!     ▼                           ▼    │ Enter(same epoch, same_machine): the freeze is undone
//!   Frozen ◄──────────────────── Frozen ──┐ Freeze: nothing to do
//!                                  ▲ └────┘
//! ```
//!
//! A step that fails leaves the state as it was: a Freeze that fails has thawed again, and an Enter
//! that fails has let nothing run and may be tried again with the same epoch. Entropy, clock and
//! identity come in this order and before anything is thawed.
//!
//! [`Barrier`] owns every transition. Whoever acts for a client holds a [`Pass`] meanwhile, so a freeze
//! waits for short operations and new ones find the door shut.

mod enter;
mod service;
mod state;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, watch};
use tonic::{Code, Status};

pub(crate) use enter::environment;
pub use enter::{EnterRequest, Entropy, Environment, Epoch};
pub use service::AgentService;
use state::State;

use crate::machine::{Machine, MachineError};
use crate::status::{refused, task_lost};

/// How long Freeze and Enter wait for operations that hold a [`Pass`], such as the copy of a large file.
const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// Why a transition was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum BarrierError {
    /// The epoch has been entered before: this is a restored machine that thinks it is the old one.
    #[error("epoch {0} was used before")]
    EpochUsed(Epoch),
    /// `same_machine` without a freeze of this epoch to undo.
    #[error("there is no freeze of epoch {0} to undo")]
    NotFrozenHere(Epoch),
    /// An operation did not end in time.
    #[error("file operations did not end within {} s", DRAIN_WAIT.as_secs())]
    Busy,
    /// The machine refused.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The transition's task is gone.
    #[error("the transition's task ended without a result")]
    TaskLost,
}

impl From<BarrierError> for Status {
    fn from(error: BarrierError) -> Self {
        let (code, reason) = match &error {
            BarrierError::EpochUsed(_) => (Code::FailedPrecondition, "EPOCH_USED"),
            BarrierError::NotFrozenHere(_) => (Code::FailedPrecondition, "NOT_FROZEN"),
            BarrierError::Busy => (Code::Aborted, "BUSY"),
            BarrierError::Machine(MachineError::FreezeTimeout { .. }) => {
                (Code::Aborted, "FREEZE_TIMEOUT")
            }
            BarrierError::Machine(MachineError::Stray { .. }) => (Code::Aborted, "FREEZE_STRAY"),
            BarrierError::Machine(_) => (Code::Internal, "MACHINE"),
            BarrierError::TaskLost => return task_lost(),
        };
        refused(code, reason, error.to_string())
    }
}

/// What anyone may know without a [`Pass`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The last epoch entered.
    pub epoch: Option<Epoch>,
    /// Processes are stopped.
    pub frozen: bool,
    /// Operations are admitted.
    pub open: bool,
}

/// The owner of the guest's state.
pub struct Barrier {
    machine: Arc<dyn Machine>,
    state: Arc<RwLock<State>>,
    view: watch::Sender<View>,
}

impl Barrier {
    /// A freshly booted machine: shut until the first Enter.
    pub fn new(machine: Arc<dyn Machine>) -> Self {
        let state = State::default();
        let view = watch::Sender::new(state.view());
        Self {
            machine,
            state: Arc::new(RwLock::new(state)),
            view,
        }
    }

    /// The state as of now; never waits.
    pub fn view(&self) -> View {
        *self.view.borrow()
    }

    /// The machine behind the barrier.
    pub fn machine(&self) -> &Arc<dyn Machine> {
        &self.machine
    }

    /// Leave to act now.
    ///
    /// # Errors
    /// UNAVAILABLE before Enter, while frozen, and while a transition is under way.
    pub fn admit(&self) -> Result<Pass, Status> {
        let shut = || {
            let message = "the guest has not passed its restore barrier";
            refused(Code::Unavailable, "BARRIER", message)
        };
        let state = self.state.clone().try_read_owned().map_err(|_| shut())?;
        if !state.is_open() {
            return Err(shut());
        }
        Ok(Pass(state))
    }

    /// Leave to act as soon as the door is open: for the next piece of a stream that was admitted before.
    pub async fn admitted(&self) -> Result<Pass, Status> {
        let mut view = self.view.subscribe();
        loop {
            view.wait_for(|view| view.open)
                .await
                .map_err(|_| task_lost())?;
            let state = self.state.clone().read_owned().await;
            if state.is_open() {
                return Ok(Pass(state));
            }
        }
    }

    /// Stops the sandbox's processes and flushes file systems; answers how many were stopped. Idempotent.
    ///
    /// # Errors
    /// When operations or processes do not come to rest in time; then all go on as before.
    pub async fn freeze(&self) -> Result<u32, BarrierError> {
        self.transition(|machine, state| {
            let frozen = machine.freeze()?;
            state.freeze();
            Ok(frozen)
        })
        .await
    }

    /// The restore barrier. Answers by how many nanoseconds the clock was stepped.
    ///
    /// # Errors
    /// For an epoch that was used before, and when the machine refuses a step; nothing then runs that did
    /// not run before.
    pub async fn enter(&self, request: EnterRequest) -> Result<i64, BarrierError> {
        self.transition(move |machine, state| {
            state.check(&request)?;
            machine.add_entropy(request.entropy.as_bytes())?;
            let step = machine.step_clock(request.wall_clock_now())?;
            machine.take_identity(&request.identity)?;
            if let Some(authority) = &request.authority {
                machine.trust(authority);
            }
            machine.thaw()?;
            state.enter(request);
            Ok(step)
        })
        .await
    }

    /// Runs a transition to its end on a thread of its own, whether or not the caller still waits.
    async fn transition<T: Send + 'static>(
        &self,
        step: impl FnOnce(&dyn Machine, &mut State) -> Result<T, BarrierError> + Send + 'static,
    ) -> Result<T, BarrierError> {
        let mut state = self.drained().await?;
        let (machine, view) = (self.machine.clone(), self.view.clone());
        tokio::task::spawn_blocking(move || {
            let result = step(&*machine, &mut state);
            view.send_replace(state.view());
            result
        })
        .await
        .map_err(|_| BarrierError::TaskLost)?
    }

    async fn drained(&self) -> Result<OwnedRwLockWriteGuard<State>, BarrierError> {
        tokio::time::timeout(DRAIN_WAIT, self.state.clone().write_owned())
            .await
            .map_err(|_| BarrierError::Busy)
    }
}

/// Leave to act: no freeze happens while it is held. Held for one short operation, or one piece of a stream.
pub struct Pass(OwnedRwLockReadGuard<State>);

impl Pass {
    /// The sandbox's environment for new processes.
    pub fn environment(&self) -> &Environment {
        self.0.environment()
    }
}
