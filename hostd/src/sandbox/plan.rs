//! From a request to what exactly will be run: snapshot or image found, sizes known.

use std::sync::Arc;

use snapshots::store::Snapshot;

use super::spec::{Source, Spec, check_machine};
use crate::error::{Error, Result};
use crate::images::Image;
use crate::services::Services;
use crate::tenancy::{Caller, Organisation};

/// What a sandbox will be made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The image whose disks it uses.
    pub image: Image,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Guest memory in bytes.
    pub memory_bytes: u64,
    /// Whether it has a network card.
    pub network: bool,
    /// How it comes to life.
    pub start: Start,
}

/// How a sandbox comes to life.
#[derive(Clone, Debug)]
pub enum Start {
    /// From saved memory.
    Restore(Arc<Snapshot>),
    /// By booting its image's kernel.
    Boot {
        /// The kernel's command line.
        cmdline: String,
    },
}

impl Plan {
    /// Finds what the request names.
    pub async fn resolve(services: &Services, caller: &Caller, spec: &Spec) -> Result<Self> {
        let plan = match &spec.source {
            Source::Snapshot(reference) => {
                Self::of_snapshot(services, services.store.find(caller, reference).await?).await?
            }
            Source::Image {
                name,
                vcpus,
                memory_bytes,
                extra_cmdline,
            } => {
                let (images, name) = (services.images.clone(), name.clone());
                let image = blocking(move || images.by_name(&name)).await?;
                let vcpus = vcpus.unwrap_or(image.defaults.vcpus);
                let memory_bytes = memory_bytes.unwrap_or(image.defaults.memory_bytes);
                check_machine(Some(vcpus), Some(memory_bytes))?;
                let cmdline = format!("{} {extra_cmdline}", image.defaults.cmdline)
                    .trim()
                    .to_owned();
                Self {
                    image,
                    vcpus,
                    memory_bytes,
                    network: services.networks.is_some(),
                    start: Start::Boot { cmdline },
                }
            }
        };
        if (plan.network || spec.network.is_some()) && services.networks.is_none() {
            return Err(Error::NetworkUnavailable);
        }
        if spec.network.is_some() && !plan.network {
            return Err(Error::invalid(
                "network",
                "the snapshot is of a machine without a network card",
            ));
        }
        Ok(plan)
    }

    async fn of_snapshot(services: &Services, snapshot: Arc<Snapshot>) -> Result<Self> {
        let (images, of) = (
            services.images.clone(),
            snapshot.manifest().description.image.clone(),
        );
        let image = blocking(move || images.by_id(&of.id, &of.name)).await?;
        let machine = &snapshot.manifest().description.machine;
        let fits = matches!(machine.disks.as_slice(), [root, scratch] if root.read_only && !scratch.read_only);
        let id = snapshot.manifest().id.to_string();
        if !fits || check_machine(Some(machine.vcpus), Some(machine.memory_bytes)).is_err() {
            return Err(Error::SnapshotDamaged {
                snapshot: id,
                part: "manifest",
                problem: "there are no machines of this shape".into(),
            });
        }
        let saved = &snapshot.manifest().description.cpu;
        let missing = match services.cpu().await {
            Some(cpu) => cpu.lacks(&saved.vendor, &saved.features),
            None => Vec::new(),
        };
        if !missing.is_empty() {
            let problem = format!("it needs {}", missing.join(", "));
            return Err(Error::SnapshotIncompatible {
                snapshot: id,
                problem,
                missing,
            });
        }
        Ok(Self {
            image,
            vcpus: machine.vcpus,
            memory_bytes: machine.memory_bytes,
            network: machine.network,
            start: Start::Restore(snapshot),
        })
    }

    /// Whose the snapshot is that is restored: what comes of it is theirs, too, whoever restores it.
    pub fn owner(&self) -> Option<Organisation> {
        match &self.start {
            Start::Restore(snapshot) => {
                let owner = snapshot.manifest().description.organisation.as_deref();
                owner.and_then(|owner| owner.parse().ok())
            }
            Start::Boot { .. } => None,
        }
    }

    /// The id of the snapshot that is restored, if one is.
    pub fn snapshot_id(&self) -> Option<String> {
        match &self.start {
            Start::Restore(snapshot) => Some(snapshot.manifest().id.to_string()),
            Start::Boot { .. } => None,
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::host("looking for an image", &error))?
}
