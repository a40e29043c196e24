//! Standing still and going on: what Pause, Resume and a snapshot have in common.

use std::time::Duration;

use tokio::time::Instant;

use super::actor::Actor;
use super::end::End;
use super::machine::Machine;
use super::record::Phase;
use crate::agent::{Agent, is_busy, is_not_frozen};
use crate::error::{Error, Result};

/// How long a guest that did not freeze in time may take to come to itself: it flushes its file systems to a slow disk, and
/// cannot be told to stop that.
const UNDO_LIMIT: Duration = Duration::from_secs(300);
/// An agent that is busy with a freeze has waited for some seconds before it says so.
const UNDO_PAUSE: Duration = Duration::from_millis(100);

impl Actor {
    /// Running to Paused. Nothing to do when it is paused.
    pub(super) async fn pause(&mut self, machine: &Machine) -> Result<Result<()>, End> {
        if self.phase() == Phase::Paused {
            return Ok(Ok(()));
        }
        let stopped = self.stand_still(machine).await?;
        if stopped.is_ok() {
            self.publish(|record| record.phase = Phase::Paused).await;
        }
        Ok(stopped)
    }

    /// Paused to Running. Nothing to do when it runs.
    pub(super) async fn resume(&mut self, machine: &Machine) -> Result<Result<()>, End> {
        if self.phase() == Phase::Paused {
            self.go_on(machine).await?;
            self.publish(|record| record.phase = Phase::Running).await;
            self.shared.open.send_replace(true);
        }
        Ok(Ok(()))
    }

    /// Freezes the processes and stops the vCPUs. When the guest does not freeze the sandbox runs as before; when the vmm does
    /// not stop it ends, because nobody can tell whether its vCPUs run.
    pub(super) async fn stand_still(&self, machine: &Machine) -> Result<Result<()>, End> {
        self.shared.open.send_replace(false);
        let frozen = self.guarded(machine, self.agent()?.freeze()).await?;
        if frozen.is_ok() {
            self.or_end(machine, machine.pause()).await?;
        } else {
            self.undo_freeze(machine).await?;
            self.shared.open.send_replace(true);
        }
        Ok(frozen)
    }

    /// Lets the vCPUs run and undoes the freeze; the caller opens the gate. A sandbox that cannot go on ends.
    pub(super) async fn go_on(&self, machine: &Machine) -> Result<(), End> {
        self.or_end(machine, machine.resume()).await?;
        self.or_end(machine, self.agent()?.enter(&self.identity, true))
            .await
    }

    /// After a step failed. A freeze that was refused has thawed already; one whose answer did not come may still be under way
    /// in the guest, and would leave it frozen: so this lasts until the agent has undone it, or knows of none.
    async fn undo_freeze(&self, machine: &Machine) -> Result<(), End> {
        let agent = self.agent()?;
        let deadline = Instant::now() + UNDO_LIMIT;
        loop {
            let undone = self
                .guarded(machine, agent.enter(&self.identity, true))
                .await?;
            match undone {
                Err(error) if is_not_frozen(&error) => return Ok(()),
                Err(error) if may_pass(&error) && Instant::now() < deadline => {
                    tracing::debug!(sandbox = %self.shared.id, %error, "a freeze is not undone yet");
                }
                undone => return undone.map_err(End::Fault),
            }
            tokio::time::sleep(UNDO_PAUSE).await;
        }
    }

    fn agent(&self) -> Result<&Agent, End> {
        let missing = || End::Fault(Error::AgentProtocol("there is no connection to it".into()));
        self.shared.agent.get().ok_or_else(missing)
    }
}

/// What an agent says, or does not, while a freeze is under way.
fn may_pass(error: &Error) -> bool {
    is_busy(error) || matches!(error, Error::AgentTimeout { .. })
}
