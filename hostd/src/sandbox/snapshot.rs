//! Saving a sandbox. It stands still while its memory is written, and goes on while the rest is checked,
//! synced and made visible.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use snapshots::disk::LayerFiles;
use snapshots::manifest::{self, Description};
use snapshots::store::{Naming, Pending, Snapshot, StoreError};
use snapshots::{SnapshotId, SnapshotName};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::actor::Actor;
use super::end::End;
use super::machine::{Machine, WRITABLE_DISK};
use super::record::Phase;
use super::spec::check_labels;
use crate::VERSION;
use crate::error::{Error, Result};
use crate::store::store_error;
use crate::tenancy::Organisation;
use crate::vmm::calls::{SaveFiles, Saved};

/// What a snapshot is to be.
#[derive(Clone, Debug)]
pub struct SnapshotRequest {
    organisation: Option<Organisation>,
    /// In the organisation's namespace.
    name: Option<SnapshotName>,
    replace: bool,
    labels: BTreeMap<String, String>,
}

/// A snapshot that was taken.
pub type SnapshotTaken = Arc<Snapshot>;

impl SnapshotRequest {
    /// Checks a client's request for a snapshot that belongs to `organisation`. An empty `name` is none.
    pub fn new(
        organisation: Option<&Organisation>,
        name: &str,
        replace: bool,
        labels: BTreeMap<String, String>,
    ) -> Result<Self> {
        let bad_name = || {
            Error::invalid(
                "name",
                "must be like [a-z0-9][a-z0-9._-]{0,62}, and not like an id",
            )
        };
        let named = |name| {
            let plain = SnapshotName::new(name).ok();
            let plain = plain.filter(|plain| plain.local() == plain.as_str())?;
            match organisation {
                Some(organisation) => plain.within(organisation.as_str()).ok(),
                None => Some(plain),
            }
        };
        let name = (!name.is_empty())
            .then(|| named(name).ok_or_else(bad_name))
            .transpose()?;
        check_labels(&labels)?;
        Ok(Self {
            organisation: organisation.cloned(),
            name,
            replace,
            labels,
        })
    }

    fn naming(&self) -> Option<Naming> {
        self.name.clone().map(|name| Naming {
            name,
            replace: self.replace,
        })
    }
}

/// The files that the vmm writes into.
struct Files {
    memory: File,
    state: File,
    layer: LayerFiles,
}

impl Actor {
    /// Takes a snapshot. The sandbox is free again when this returns; the answer comes when the snapshot is committed.
    pub(super) async fn snapshot(
        &self,
        machine: &Machine,
        request: SnapshotRequest,
        answer: oneshot::Sender<Result<SnapshotTaken>>,
    ) -> Result<(), End> {
        match self.write(machine, &request).await? {
            Ok((pending, description)) => {
                let id = pending.id().clone();
                if let Some(network) = machine.network() {
                    let owner = description.organisation.as_deref();
                    self.services.keep_secrets(owner, &id, network.secrets());
                }
                let services = self.services.clone();
                self.services.tasks.spawn(async move {
                    let result = commit(pending, description, request).await;
                    if result.is_err() {
                        services.forget_secrets(&id);
                    }
                    // The client may be gone; the snapshot is there all the same.
                    let _ = answer.send(result);
                });
            }
            Err(error) => drop(answer.send(Err(error))),
        }
        Ok(())
    }

    async fn write(
        &self,
        machine: &Machine,
        request: &SnapshotRequest,
    ) -> Result<Result<(Pending, Description)>, End> {
        let (pending, files) = match self.guarded(machine, self.begin(request)).await? {
            Ok(begun) => begun,
            Err(error) => return Ok(Err(error)),
        };
        let started = Instant::now();
        let was_running = self.phase() == Phase::Running;
        if was_running && let Err(error) = self.stand_still(machine).await? {
            return Ok(Err(error));
        }
        let saved = self
            .guarded(machine, machine.save(files.for_save()))
            .await?;
        if was_running {
            self.go_on(machine).await?;
            self.shared.open.send_replace(true);
        }
        let paused = if was_running {
            started.elapsed()
        } else {
            Duration::ZERO
        };
        Ok(saved.map(|saved| {
            let description = self.describe(request, saved, paused);
            (pending, description)
        }))
    }

    async fn begin(&self, request: &SnapshotRequest) -> Result<(Pending, Files)> {
        if let Some(name) = &request.name
            && !request.replace
            && self.services.store.is_taken(name).await
        {
            // Told before the sandbox stands still; the commit decides.
            return Err(Error::SnapshotNameTaken(name.local().to_owned()));
        }
        let id = SnapshotId::new(crate::id::new_snapshot_id())
            .map_err(|error| Error::host("making a snapshot id", &error))?;
        let pending = self.services.store.begin(id.clone()).await?;
        let open = || -> Result<Files, StoreError> {
            Ok(Files {
                memory: pending.memory()?,
                state: pending.state()?,
                layer: pending.layer(WRITABLE_DISK)?,
            })
        };
        let files = open().map_err(|error| store_error(id.as_str(), &error))?;
        Ok((pending, files))
    }

    fn describe(&self, request: &SnapshotRequest, saved: Saved, paused: Duration) -> Description {
        let image = &self.plan.image;
        let [root, scratch] = image.disk_bytes();
        let created = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Description {
            organisation: request.organisation.clone().map(String::from),
            labels: request.labels.clone(),
            created_at_unix_ms: u64::try_from(created.as_millis()).unwrap_or(u64::MAX),
            sandbox_id: self.shared.id.to_string(),
            paused_nanos: u64::try_from(paused.as_nanos()).unwrap_or(u64::MAX),
            machine: manifest::Machine {
                vcpus: self.plan.vcpus,
                memory_bytes: self.plan.memory_bytes,
                disks: vec![
                    manifest::Disk {
                        bytes: root,
                        read_only: true,
                    },
                    manifest::Disk {
                        bytes: scratch,
                        read_only: false,
                    },
                ],
                network: self.plan.network,
            },
            image: manifest::Image {
                name: image.name.clone(),
                id: image.id.clone(),
            },
            cpu: manifest::Cpu {
                vendor: saved.cpu_vendor,
                features: saved.cpu_features,
            },
            agent_version: self
                .shared
                .agent
                .get()
                .map(|agent| agent.version().to_owned())
                .unwrap_or_default(),
            vmm_version: VERSION.to_owned(),
        }
    }
}

impl Files {
    fn for_save(&self) -> SaveFiles<'_> {
        SaveFiles {
            memory: self.memory.as_fd(),
            state: self.state.as_fd(),
            layers: vec![(self.layer.data.as_fd(), self.layer.bitmap.as_fd())],
        }
    }
}

async fn commit(
    pending: Pending,
    description: Description,
    request: SnapshotRequest,
) -> Result<SnapshotTaken> {
    let naming = request.naming();
    let committing =
        tokio::task::spawn_blocking(move || pending.commit(description, naming.as_ref())).await;
    let committed = committing.map_err(|error| Error::host("committing a snapshot", &error))?;
    committed
        .map(Arc::new)
        .map_err(|error| store_error("", &error))
}
