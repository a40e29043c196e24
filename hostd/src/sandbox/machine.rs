//! What a living sandbox holds on the host: a vmm process, a directory with a socket, a console. Made
//! together, removed together.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use snapshots::store::Snapshot;
use snapshots::template::Template;

use super::MachineFigures;
use super::console::Console;
use super::plan::Plan;
use super::record::Stage;
use crate::error::{Context, Error, Result, chain};
use crate::id::SandboxId;
use crate::network::{Attachment, NetworkLimits, ResolvedNetwork};
use crate::services::Services;
use crate::store::store_error;
use crate::vmm::calls::{self, Disk, SaveFiles, Saved};
use crate::vmm::{Refusal, Vmm, VmmError};

/// Position of /dev/vdb, the only writable disk.
pub const WRITABLE_DISK: u32 = 1;

/// A sandbox's holdings.
#[derive(Debug)]
pub struct Machine {
    vmm: Vmm,
    console: Console,
    directory: RunDirectory,
    network: Option<Arc<Attachment>>,
}

/// What goes to the vmm and is not kept.
#[derive(Debug)]
pub struct Parts {
    vsock_listener: OwnedFd,
    console: OwnedFd,
    overlay: OwnedFd,
    tap: Option<OwnedFd>,
}

impl Machine {
    /// Takes a vmm process and makes everything around it.
    pub fn prepare(
        services: &Services,
        id: &SandboxId,
        plan: &Plan,
        network: Option<&ResolvedNetwork>,
    ) -> Result<(Self, Parts)> {
        let directory = RunDirectory::make(services.state_dir.sandbox(id))
            .doing(|| "making the sandbox's directory".into())?;
        let listener =
            UnixListener::bind(directory.vsock()).doing(|| "binding the vsock socket".into())?;
        let overlay = directory
            .unnamed_file()
            .doing(|| "making the sandbox's disk".into())?;
        let (console, writer) = Console::open().doing(|| "making the console".into())?;
        let (network, tap) = match &services.networks {
            Some(networks) if plan.network => {
                let (attachment, tap) = networks.attach(id, network)?;
                (attachment, Some(tap))
            }
            _ => (None, None),
        };
        let vmm = services.vmms.take().doing(|| "starting a vmm".into())?;
        vmm.limit_memory(plan.memory_bytes);
        let parts = Parts {
            vsock_listener: listener.into(),
            console: writer,
            overlay,
            tap,
        };
        Ok((
            Self {
                vmm,
                console,
                directory,
                network,
            },
            parts,
        ))
    }

    /// Sets the machine up to boot the plan's image; it stands still afterwards.
    pub async fn boot(
        &self,
        id: &SandboxId,
        plan: &Plan,
        cmdline: &str,
        parts: Parts,
    ) -> Result<Vec<Stage>> {
        let (kernel, initramfs) = plan.image.open_kernel()?;
        let machine = self.wire(id, plan, parts, None)?;
        self.vmm
            .boot(machine, kernel, initramfs, cmdline.to_owned())
            .await
            .map_err(|error| vmm_error("booting", error))
    }

    /// Sets the machine up from a snapshot; it stands still afterwards.
    pub async fn restore(
        &self,
        id: &SandboxId,
        plan: &Plan,
        snapshot: &Snapshot,
        template: &Template,
        parts: Parts,
    ) -> Result<Vec<Stage>> {
        let name = snapshot.manifest().id.as_str();
        let layer = snapshot
            .layer(WRITABLE_DISK)
            .map_err(|error| store_error(name, &error))?;
        let state = snapshot
            .state()
            .map_err(|error| store_error(name, &error))?;
        let machine = self.wire(
            id,
            plan,
            parts,
            Some((layer.data.into(), layer.bitmap.into())),
        )?;
        let memory = template
            .as_fd()
            .try_clone_to_owned()
            .doing(|| "duplicating a template's descriptor".into())?;
        self.vmm
            .restore(machine, memory, state.into())
            .await
            .map_err(|error| restore_error(name, error))
    }

    /// Stops the vCPUs.
    pub async fn pause(&self) -> Result<()> {
        self.vmm
            .pause()
            .await
            .map_err(|error| vmm_error("pausing", error))
    }

    /// Lets the vCPUs run.
    pub async fn resume(&self) -> Result<()> {
        self.vmm
            .resume()
            .await
            .map_err(|error| vmm_error("resuming", error))
    }

    /// Writes memory, state and disk into `files`; only while the vCPUs stand still.
    pub async fn save(&self, files: SaveFiles<'_>) -> Result<Saved> {
        self.vmm
            .save(files)
            .await
            .map_err(|error| vmm_error("saving", error))
    }

    /// The vmm's counters, and who it is.
    pub async fn figures(&self) -> Result<MachineFigures> {
        let counters = self
            .vmm
            .counters()
            .await
            .map_err(|error| vmm_error("reading counters", error))?;
        Ok(MachineFigures {
            counters,
            vmm_pid: self.vmm.pid(),
        })
    }

    /// Its network, if it may reach anything.
    pub fn network(&self) -> Option<&Arc<Attachment>> {
        self.network.as_ref()
    }

    /// Lets its network card be heard, within these limits.
    pub async fn unmute(&self, limits: NetworkLimits) -> Result<()> {
        self.vmm
            .unmute(limits)
            .await
            .map_err(|error| vmm_error("letting the network card be heard", error))
    }

    /// The process.
    pub fn vmm(&self) -> &Vmm {
        &self.vmm
    }

    /// Where to connect to the guest's ports.
    pub fn vsock(&self) -> PathBuf {
        self.directory.vsock()
    }

    /// Ends the process, removes everything, and returns the last of the console.
    pub async fn dismantle(self) -> String {
        self.vmm.destroy().await;
        if let Some(network) = &self.network {
            network.close().await;
        }
        let output = self.console.last_output().await;
        drop(self.directory);
        output
    }

    fn wire(
        &self,
        id: &SandboxId,
        plan: &Plan,
        parts: Parts,
        layer: Option<(OwnedFd, OwnedFd)>,
    ) -> Result<calls::Machine> {
        let disks = plan.image.open_disks()?;
        Ok(calls::Machine {
            name: id.to_string(),
            vcpus: plan.vcpus,
            memory_bytes: plan.memory_bytes,
            disks: vec![
                Disk::ReadOnly(disks.root),
                Disk::Writable {
                    base: disks.scratch,
                    overlay: parts.overlay,
                    layer,
                },
            ],
            vsock_listener: parts.vsock_listener,
            console: parts.console,
            net: parts.tap,
        })
    }
}

/// What a vmm said no to, while `doing` something that should work.
fn vmm_error(doing: &str, error: VmmError) -> Error {
    Error::Host {
        doing: doing.to_owned(),
        cause: chain(&error),
    }
}

/// A vmm that refuses to restore may have found the snapshot to be the reason.
fn restore_error(snapshot: &str, error: VmmError) -> Error {
    match error {
        VmmError::Refused {
            kind: Refusal::InvalidSnapshot,
            message,
        } => Error::SnapshotDamaged {
            snapshot: snapshot.to_owned(),
            part: "state",
            problem: message,
        },
        VmmError::Refused {
            kind: Refusal::IncompatibleCpu,
            message,
        } => Error::SnapshotIncompatible {
            snapshot: snapshot.to_owned(),
            problem: message,
            missing: Vec::new(),
        },
        // What is wrong with the machine was in the manifest.
        VmmError::Refused {
            kind: Refusal::InvalidConfig,
            message,
        } => Error::SnapshotDamaged {
            snapshot: snapshot.to_owned(),
            part: "manifest",
            problem: message,
        },
        error => vmm_error("restoring", error),
    }
}

/// A directory that is removed when it is dropped.
#[derive(Debug)]
struct RunDirectory {
    path: PathBuf,
}

impl RunDirectory {
    fn make(path: PathBuf) -> io::Result<Self> {
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }

    fn vsock(&self) -> PathBuf {
        self.path.join("vsock.sock")
    }

    /// A file without a name: nothing is left of it, whatever happens.
    fn unnamed_file(&self) -> io::Result<OwnedFd> {
        unnamed_file(&self.path)
    }
}

fn unnamed_file(directory: &Path) -> io::Result<OwnedFd> {
    let path = directory.join("overlay");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    fs::remove_file(&path)?;
    Ok(file.into())
}

impl Drop for RunDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::error!(%error, "cannot remove {}", self.path.display());
        }
    }
}
