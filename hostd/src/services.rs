//! What every sandbox needs of the daemon, in one place.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use egress::secrets::Bindings;
use egress::secrets::sealed::SealingKey;
use snapshots::SnapshotId;
use snapshots::store::Store;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::auth::Door;
use crate::config::Config;
use crate::database::Database;
use crate::error::{Error, chain};
use crate::host::cgroup::Cgroups;
use crate::host::cpu::{Cpu, HostCpu};
use crate::host::facts::Facts;
use crate::images::Images;
use crate::network::{NetworkError, NetworkSpec, Networks, ResolvedNetwork};
use crate::sandbox::plan::{Plan, Start};
use crate::sandbox::record::Record;
use crate::sealing::{self, SealingKeyError};
use crate::state_dir::StateDir;
use crate::store::SnapshotStore;
use crate::templates::Templates;
use crate::tenancy::{Caller, Tokens};
use crate::vmm::VmmPool;
use crate::vmm::process::Launcher;

/// Events that a slow watcher may be behind before it loses some.
const EVENT_BACKLOG: usize = 1024;
/// Records of one organisation's ended sandboxes that are kept at most.
const MAX_ENDED_RECORDS: usize = 10_000;
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// A change of a sandbox.
#[derive(Clone, Debug)]
pub struct Event {
    /// When it changed.
    pub time: SystemTime,
    /// As it is after the change.
    pub record: Arc<Record>,
}

/// Everything that is shared.
#[derive(Debug)]
pub struct Services {
    /// The checked configuration.
    pub config: Config,
    /// The locked state directory.
    pub state_dir: StateDir,
    /// Records.
    pub database: Database,
    /// Installed images.
    pub images: Images,
    /// Snapshots on disk.
    pub store: SnapshotStore,
    /// Snapshots in memory.
    pub templates: Templates,
    /// Started vmm processes.
    pub vmms: VmmPool,
    /// What sandboxes reach others by; `None`: nothing.
    pub networks: Option<Networks>,
    /// What opens sealed secrets.
    pub sealing_key: SealingKey,
    /// Where they are accounted.
    pub cgroups: Option<Cgroups>,
    /// What the host is.
    pub facts: Facts,
    cpu: HostCpu,
    /// Who may call, beside the operator.
    pub tokens: Tokens,
    /// Changes of all sandboxes.
    pub events: broadcast::Sender<Event>,
    /// Cancelled when hostd is to end.
    pub stopping: CancellationToken,
    /// Cancelled after that, when every sandbox has ended and has been told of.
    pub all_ended: CancellationToken,
    /// Everything that has to finish before hostd ends.
    pub tasks: TaskTracker,
}

/// Why the services could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The snapshot store cannot be used.
    #[error("cannot open the snapshot store; is --state-dir or --snapshots right?")]
    Store(#[source] snapshots::store::StoreError),
    /// Networks were asked for.
    #[error("no networks for sandboxes; --network off starts hostd without")]
    Network(#[from] NetworkError),
    /// Sealed secrets could not be opened.
    #[error("cannot use the key of sealed secrets")]
    SealingKey(#[from] SealingKeyError),
}

impl Services {
    /// Starts them. Needs a tokio runtime. `stopping` is cancelled by whoever wants hostd to end.
    pub fn start(
        config: Config,
        state_dir: StateDir,
        database: Database,
        tokens: Tokens,
        cgroups: Option<Cgroups>,
        stopping: CancellationToken,
    ) -> Result<Arc<Self>, StartError> {
        let store =
            Store::open(&state_dir.snapshots(), &config.snapshots).map_err(StartError::Store)?;
        let images = if config.images.is_empty() {
            vec![state_dir.images()]
        } else {
            config.images.clone()
        };
        let launcher = Launcher {
            path: config.vmm.clone(),
            state_dir: state_dir.root().to_owned(),
            cgroups: cgroups.clone(),
        };
        let services = Arc::new(Self {
            images: Images::new(images),
            store: SnapshotStore::new(store),
            templates: Templates::new(config.template_cache_bytes),
            vmms: VmmPool::start(launcher, config.vmm_pool),
            networks: Networks::start(&config.network)?,
            sealing_key: sealing::load(&state_dir.sealing_key())?,
            cgroups,
            facts: Facts::read(),
            cpu: HostCpu::default(),
            tokens,
            events: broadcast::Sender::new(EVENT_BACKLOG),
            stopping,
            all_ended: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
            state_dir,
            database,
        });
        services.tasks.spawn(prune(services.clone()));
        tokio::spawn(tell_when_all_ended(services.clone()));
        // Ahead of the first restore, which would wait for it.
        let ahead = services.clone();
        tokio::spawn(async move {
            let _ = ahead.cpu().await;
        });
        Ok(services)
    }

    /// A client's network for a sandbox of this plan.
    pub fn resolve_network(
        &self,
        caller: &Caller,
        spec: NetworkSpec,
        plan: &Plan,
    ) -> crate::error::Result<ResolvedNetwork> {
        let networks = self.networks.as_ref().ok_or(Error::NetworkUnavailable)?;
        let Start::Restore(snapshot) = &plan.start else {
            return spec.resolve(None);
        };
        let id = &snapshot.manifest().id;
        // Everybody may restore what the operator has saved, but not with the operator's secrets.
        let owner = snapshot.manifest().description.organisation.as_deref();
        let own = caller.owns(owner);
        let kept = own.then(|| networks.kept.of(owner, id)).flatten();
        if spec.inherit && kept.is_none() {
            return Err(Error::SecretsNotKept(id.to_string()));
        }
        spec.resolve(kept.as_deref())
    }

    /// A sandbox with these secrets is being saved. To be said before anybody can know the snapshot: they are
    /// forgotten with it.
    pub fn keep_secrets(&self, owner: Option<&str>, snapshot: &SnapshotId, secrets: Arc<Bindings>) {
        if let Some(networks) = &self.networks {
            networks.kept.keep(owner, snapshot.clone(), secrets);
        }
    }

    /// Deletes a snapshot, and what is remembered of it.
    pub async fn delete_snapshot(
        &self,
        caller: &Caller,
        reference: &str,
    ) -> crate::error::Result<()> {
        let id = self.store.delete(caller, reference).await?;
        self.templates.forget(id.as_str());
        self.forget_secrets(&id);
        Ok(())
    }

    /// A snapshot is gone, or was never there: what is remembered of it goes, too.
    pub fn forget_secrets(&self, snapshot: &SnapshotId) {
        if let Some(networks) = &self.networks {
            networks.kept.forget(snapshot);
        }
    }

    /// Where those come in who are not the operator by where they come from.
    pub fn door(&self) -> Door {
        Door {
            operator: self.config.token.clone(),
            tokens: self.tokens.clone(),
        }
    }

    /// What a guest's CPU can have here, if that can be known.
    pub async fn cpu(&self) -> Option<&Cpu> {
        self.cpu.get(&self.config.vmm).await
    }

    /// Ends what [`Services::start`] started, after the sandboxes have ended.
    pub async fn stop(&self) {
        self.stopping.cancel();
        self.all_ended.cancelled().await;
        self.vmms.close().await;
        if let Some(cgroups) = &self.cgroups {
            cgroups.close().await;
        }
    }
}

/// Those who watch are let go of only when they have seen the last end.
async fn tell_when_all_ended(services: Arc<Services>) {
    services.stopping.cancelled().await;
    services.tasks.close();
    services.tasks.wait().await;
    services.all_ended.cancel();
}

/// Forgets old records from time to time.
async fn prune(services: Arc<Services>) {
    let mut ticks = tokio::time::interval(PRUNE_EVERY);
    loop {
        tokio::select! {
            () = services.stopping.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let before = SystemTime::now()
            .checked_sub(services.config.keep_records)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        match services
            .database
            .prune_sandboxes(before, MAX_ENDED_RECORDS)
            .await
        {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "forgot records of ended sandboxes"),
            Err(error) => tracing::error!(error = %chain(&error), "cannot prune records"),
        }
    }
}
