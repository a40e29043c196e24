//! Standing still and going on: what Pause, Resume and a snapshot have in common.

use super::actor::Actor;
use super::end::End;
use super::machine::Machine;
use super::record::Phase;
use crate::agent::Agent;
use crate::error::{Error, Result};

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

    /// Freezes the processes and stops the vCPUs. When that fails the sandbox runs as before.
    pub(super) async fn stand_still(&self, machine: &Machine) -> Result<Result<()>, End> {
        self.shared.open.send_replace(false);
        let frozen = self.guarded(machine, self.agent()?.freeze()).await?;
        let stopped = match frozen {
            Ok(()) => self.guarded(machine, machine.pause()).await?,
            Err(error) => Err(error),
        };
        if stopped.is_err() {
            self.undo_freeze(machine).await?;
            self.shared.open.send_replace(true);
        }
        Ok(stopped)
    }

    /// Lets the vCPUs run and undoes the freeze; the caller opens the gate. A sandbox that cannot go on ends.
    pub(super) async fn go_on(&self, machine: &Machine) -> Result<(), End> {
        self.or_end(machine, machine.resume()).await?;
        self.or_end(machine, self.agent()?.enter(&self.identity, true))
            .await
    }

    /// After a step failed. A freeze that fails has already thawed, unless its answer was lost.
    async fn undo_freeze(&self, machine: &Machine) -> Result<(), End> {
        let agent = self.agent()?;
        if self.or_end(machine, agent.is_frozen()).await? {
            self.or_end(machine, agent.enter(&self.identity, true))
                .await?;
        }
        Ok(())
    }

    fn agent(&self) -> Result<&Agent, End> {
        let missing = || End::Fault(Error::AgentProtocol("there is no connection to it".into()));
        self.shared.agent.get().ok_or_else(missing)
    }
}
