//! All sandboxes: the living ones as handles, the ended ones as records.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::{Semaphore, oneshot};

use crate::agent::barrier::Identity;
use crate::database::{Cursor, Filter, Page};
use crate::error::{Context, Error, Result};
use crate::id::SandboxId;
use crate::network;
use crate::sandbox::Sandbox;
use crate::sandbox::actor::{Actor, Birth, Place};
use crate::sandbox::plan::Plan;
use crate::sandbox::record::{Phase, Record, State};
use crate::sandbox::spec::Spec;
use crate::services::Services;
use crate::tenancy::Caller;

/// The registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sandboxes {
    services: Arc<Services>,
    living: Arc<Mutex<HashMap<SandboxId, Sandbox>>>,
    places: Arc<Semaphore>,
}

impl Sandboxes {
    /// An empty registry.
    pub fn new(services: Arc<Services>) -> Self {
        let places = Arc::new(Semaphore::new(services.config.max_sandboxes));
        Self {
            services,
            living: Arc::default(),
            places,
        }
    }

    /// What they share.
    pub fn services(&self) -> &Arc<Services> {
        &self.services
    }

    /// Makes a sandbox and returns it when it takes commands. When the caller gives up waiting, the sandbox is ended: nobody
    /// knows its id.
    pub async fn create(&self, caller: &Caller, spec: Spec) -> Result<Arc<Record>> {
        spec.check()?;
        // Taken before the look at `stopping`: hostd then either waits for this Create, or is seen to end.
        let _token = self.services.tasks.token();
        if self.services.stopping.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let full = |_| Error::Capacity {
            limit: self.services.config.max_sandboxes,
        };
        // The host's places come last, so that nobody holds one who may not have it.
        let mut held = caller.take()?;
        let plan = Plan::resolve(&self.services, caller, &spec).await?;
        held.take_memory(plan.memory_bytes)?;
        let permit = self.places.clone().try_acquire_owned().map_err(full)?;
        let id = SandboxId::generate();
        let hostname = spec.hostname.unwrap_or_else(|| id.hostname());
        let network = spec
            .network
            .map(|network| self.services.resolve_network(caller, network, &plan));
        let network = network.transpose()?;
        let mut env = network.as_ref().map(network::variables).unwrap_or_default();
        env.extend(spec.env);
        let birth = Birth {
            record: first_record(id, caller, spec.labels, &plan),
            plan,
            identity: Identity::fresh(hostname, env),
            network,
            boot_timeout: spec
                .boot_timeout
                .unwrap_or(self.services.config.boot_timeout),
            timeout: spec.timeout,
            place: Place { permit, held },
        };
        self.bear(birth).await
    }

    async fn bear(&self, birth: Birth) -> Result<Arc<Record>> {
        let (actor, commands, sandbox) = Actor::new(self.services.clone(), birth);
        let abandoned = KillOnDrop(Some(sandbox.clone()));
        self.living().insert(sandbox.id().clone(), sandbox.clone());
        let listed = Listed {
            registry: self.clone(),
            id: sandbox.id().clone(),
        };
        let (created, answer) = oneshot::channel();
        self.services.tasks.spawn(async move {
            actor.run(commands, created).await;
            drop(listed);
        });
        let result = answer.await.map_err(|_| Error::ShuttingDown)?;
        abandoned.disarm();
        result.map(|()| sandbox.record())
    }

    /// A living sandbox.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when it has ended, [`Error::SandboxNotFound`] when it never was.
    pub async fn living_one(&self, caller: &Caller, id: &str) -> Result<Sandbox> {
        let id = parse(id)?;
        if let Some(sandbox) = self.handle(&id) {
            return seen(caller, &sandbox.record()).map(|()| sandbox);
        }
        let phase = self.stored(caller, id.clone()).await?.phase;
        Err(Error::NotRunning { id, phase })
    }

    /// A sandbox's record, living or ended.
    pub async fn record(&self, caller: &Caller, id: &str) -> Result<Arc<Record>> {
        let id = parse(id)?;
        match self.handle(&id) {
            Some(sandbox) => {
                let record = sandbox.record();
                seen(caller, &record).map(|()| record)
            }
            None => self.stored(caller, id).await.map(Arc::new),
        }
    }

    /// Ends a sandbox. Ended ones are returned as they are.
    pub async fn kill(&self, caller: &Caller, id: &str) -> Result<Arc<Record>> {
        let parsed = parse(id)?;
        match self.handle(&parsed) {
            Some(sandbox) => {
                seen(caller, &sandbox.record())?;
                Ok(sandbox.kill().await)
            }
            None => self.stored(caller, parsed).await.map(Arc::new),
        }
    }

    /// A page of the caller's records, newest first.
    pub async fn list(
        &self,
        caller: &Caller,
        filter: Filter,
        after: Option<Cursor>,
        size: usize,
    ) -> Result<Page> {
        let filter = Filter {
            organisation: caller.organisation().cloned(),
            ..filter
        };
        self.services
            .database
            .list_sandboxes(filter, after, size)
            .await
            .doing(|| "listing sandboxes".into())
    }

    /// How many of the caller's run or are paused.
    pub fn running(&self, caller: &Caller) -> usize {
        let is_up = |sandbox: &&Sandbox| {
            let record = sandbox.record();
            matches!(record.phase, Phase::Running | Phase::Paused) && caller.owns(record.owner())
        };
        self.living().values().filter(is_up).count()
    }

    /// How many living ones are in which state; all states of living ones are there.
    pub fn states(&self) -> [(&'static str, usize); 3] {
        let living = self.living();
        let count = |state: State| {
            let in_it = |sandbox: &&Sandbox| sandbox.record().phase.state() == state;
            living.values().filter(in_it).count()
        };
        [
            ("creating", count(State::Creating)),
            ("running", count(State::Running)),
            ("paused", count(State::Paused)),
        ]
    }

    fn handle(&self, id: &SandboxId) -> Option<Sandbox> {
        self.living().get(id).cloned()
    }

    async fn stored(&self, caller: &Caller, id: SandboxId) -> Result<Record> {
        let shown = id.to_string();
        let record = self
            .services
            .database
            .sandbox(id)
            .await
            .doing(|| "reading a record".into())?;
        let record = record.ok_or(Error::SandboxNotFound(shown))?;
        seen(caller, &record).map(|()| record)
    }

    fn living(&self) -> std::sync::MutexGuard<'_, HashMap<SandboxId, Sandbox>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a sandbox off the list of the living, even when its task panics.
struct Listed {
    registry: Sandboxes,
    id: SandboxId,
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.registry.living().remove(&self.id);
    }
}

/// Ends a sandbox whose Create nobody waits for any more.
struct KillOnDrop(Option<Sandbox>);

impl KillOnDrop {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(sandbox) = &self.0 {
            sandbox.request_kill();
        }
    }
}

/// To others, a sandbox is not there.
fn seen(caller: &Caller, record: &Record) -> Result<()> {
    let own = caller.owns(record.owner());
    own.then_some(())
        .ok_or_else(|| Error::SandboxNotFound(record.id.to_string()))
}

fn parse(id: &str) -> Result<SandboxId> {
    // What is no id names no sandbox.
    id.parse()
        .map_err(|_| Error::SandboxNotFound(id.chars().take(64).collect()))
}

fn first_record(
    id: SandboxId,
    caller: &Caller,
    labels: std::collections::BTreeMap<String, String>,
    plan: &Plan,
) -> Record {
    Record {
        id,
        phase: Phase::Creating,
        labels,
        organisation: caller.organisation().cloned().or_else(|| plan.owner()),
        vcpus: plan.vcpus,
        memory_bytes: plan.memory_bytes,
        snapshot_id: plan.snapshot_id(),
        image: plan.image.name.clone(),
        epoch: None,
        created_at: SystemTime::now(),
        ended_at: None,
        // The actor sets it together with its timer.
        expires_at: None,
        stages: Vec::new(),
        revision: 0,
    }
}
