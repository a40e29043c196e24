//! From a plan to a running sandbox, each stage timed.

use std::sync::Arc;
use std::time::Duration;

use snapshots::template::Template;
use tokio::time::Instant;

use super::actor::Actor;
use super::end::End;
use super::machine::{Machine, Parts};
use super::plan::Start;
use super::record::{Phase, Stage};
use crate::agent::connect::{self, ConnectError};
use crate::error::{Error, Result};

impl Actor {
    /// Makes the sandbox. On failure all is removed, and the guest's last output returned.
    pub(super) async fn create(&self) -> Result<Machine, (End, String)> {
        let mut stages = Stages::start();
        let without_console = |end| (end, String::new());
        let template = self.template(&mut stages).await.map_err(without_console)?;
        let (machine, parts) = self
            .prepare()
            .map_err(|error| without_console(End::Fault(error)))?;
        stages.done("spawn_vmm");
        match self.bring_up(&machine, parts, template, &mut stages).await {
            Ok(()) => Ok(machine),
            Err(end) => Err((end, machine.dismantle().await)),
        }
    }

    fn prepare(&self) -> Result<(Machine, Parts)> {
        let Self {
            services,
            shared,
            plan,
            network,
            ..
        } = self;
        Machine::prepare(services, &shared.id, plan, network.as_ref())
    }

    async fn template(&self, stages: &mut Stages) -> Result<Option<Arc<Template>>, End> {
        let Start::Restore(snapshot) = &self.plan.start else {
            return Ok(None);
        };
        let template = tokio::select! {
            biased;
            end = self.end(None) => return Err(end),
            template = self.services.templates.get(snapshot) => template.map_err(End::Fault)?,
        };
        stages.done("template");
        Ok(Some(template))
    }

    async fn bring_up(
        &self,
        machine: &Machine,
        parts: Parts,
        template: Option<Arc<Template>>,
        stages: &mut Stages,
    ) -> Result<(), End> {
        self.or_end(
            machine,
            self.start_machine(machine, parts, template, stages),
        )
        .await?;
        let socket = machine.vsock();
        let connecting = async {
            let agent = connect::connect(&socket, self.boot_timeout).await;
            agent.map_err(connect_error)
        };
        let agent = self.or_end(machine, connecting).await?;
        stages.done("agent_connect");
        let attachment = machine.network();
        let mut identity = self.identity.clone();
        if let Some(attachment) = attachment {
            identity.authority_pem = attachment.authority_pem().to_owned();
        }
        self.or_end(machine, agent.enter(&identity, false)).await?;
        if let Some(attachment) = attachment {
            let unmuting = machine.unmute(attachment.limits());
            self.or_end(machine, unmuting).await?;
            let _ = self.shared.network.set(attachment.clone());
        }
        stages.done("barrier");
        // It is empty until here: the actor is the only one who sets it, and does so once.
        let _ = self.shared.agent.set(agent);
        let (stages, epoch) = (stages.take(), self.identity.epoch);
        self.publish(|record| {
            record.phase = Phase::Running;
            record.epoch = Some(epoch);
            record.stages = stages;
        })
        .await;
        self.shared.open.send_replace(true);
        Ok(())
    }

    async fn start_machine(
        &self,
        machine: &Machine,
        parts: Parts,
        template: Option<Arc<Template>>,
        stages: &mut Stages,
    ) -> Result<()> {
        let id = &self.shared.id;
        match (&self.plan.start, template) {
            (Start::Restore(snapshot), Some(template)) => {
                let restoring = machine.restore(id, &self.plan, snapshot, &template, parts);
                stages.done_with("restore", restoring.await?);
            }
            (Start::Boot { cmdline }, _) => {
                let booting = machine.boot(id, &self.plan, cmdline, parts);
                stages.done_with("boot", booting.await?);
            }
            (Start::Restore(_), None) => return Err(Error::invalid("snapshot", "has no template")),
        }
        machine.resume().await?;
        stages.done("resume");
        Ok(())
    }
}

fn connect_error(error: ConnectError) -> Error {
    match error {
        ConnectError::Timeout { .. } => Error::BootTimeout(error.to_string()),
        ConnectError::Protocol(problem) => Error::AgentProtocol(problem),
    }
}

/// Times the stages of Create, one after another.
struct Stages {
    last: Instant,
    done: Vec<Stage>,
}

impl Stages {
    fn start() -> Self {
        Self {
            last: Instant::now(),
            done: Vec::new(),
        }
    }

    fn done(&mut self, name: &str) {
        self.done_with(name, Vec::new());
    }

    /// A stage of which the vmm has timed parts. They come before it as `stage.part`, and it has what they leave of the time,
    /// so that all stages together are the whole.
    fn done_with(&mut self, name: &str, parts: Vec<Stage>) {
        let timed: Duration = parts.iter().map(|part| part.duration).sum();
        let duration = self.lap().saturating_sub(timed);
        self.done.extend(parts.into_iter().map(|part| Stage {
            name: format!("{name}.{}", part.name),
            ..part
        }));
        self.done.push(Stage {
            name: name.to_owned(),
            duration,
        });
    }

    fn lap(&mut self) -> Duration {
        let now = Instant::now();
        now - std::mem::replace(&mut self.last, now)
    }

    fn take(&mut self) -> Vec<Stage> {
        std::mem::take(&mut self.done)
    }
}
