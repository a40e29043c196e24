//! What can be asked of a vmm, in the daemon's own types.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use protocol::vmm::v1::{self as wire, reply::Reply, request::Request};

use super::{Vmm, VmmError};
use crate::network::NetworkLimits;
use crate::sandbox::record::Stage;

/// Pause, resume, figures: a vmm that needs longer is stuck.
const SHORT_CALL: Duration = Duration::from_secs(10);
/// Mapping memory and making the machine; on a busy host with cold files.
const MACHINE_CALL: Duration = Duration::from_secs(60);
/// Compressing up to 16 GiB.
const SAVE_CALL: Duration = Duration::from_secs(600);
/// A vmm reports few stages; more are cut off.
const MAX_STAGES: usize = 64;
const MAX_STAGE_NAME: usize = 64;
/// The first context id that is a guest's. Each vmm has its own vsock, so all guests have the same.
const GUEST_CID: u32 = 3;

/// A machine and the descriptors it is made of.
#[derive(Debug)]
pub struct Machine {
    /// For logs and the process title.
    pub name: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Guest memory in bytes.
    pub memory_bytes: u64,
    /// In the order of /dev/vda, /dev/vdb, ….
    pub disks: Vec<Disk>,
    /// A listening unix stream socket.
    pub vsock_listener: OwnedFd,
    /// The write end of the console's pipe.
    pub console: OwnedFd,
    /// The tap of its network card, if it has one. The card begins muted.
    pub net: Option<OwnedFd>,
}

/// A disk of the machine.
#[derive(Debug)]
pub enum Disk {
    /// A shared file that cannot be written.
    ReadOnly(OwnedFd),
    /// Copy-on-write over a shared base.
    Writable {
        /// The image's file.
        base: OwnedFd,
        /// This sandbox's own writes: an empty file.
        overlay: OwnedFd,
        /// The snapshot's layer and bitmap.
        layer: Option<(OwnedFd, OwnedFd)>,
    },
}

/// Where Save writes.
#[derive(Debug)]
pub struct SaveFiles<'a> {
    /// Receives the memory.
    pub memory: BorrowedFd<'a>,
    /// Receives the device state.
    pub state: BorrowedFd<'a>,
    /// For each writable disk: layer and bitmap.
    pub layers: Vec<(BorrowedFd<'a>, BorrowedFd<'a>)>,
}

/// What a saved machine's manifest has to say.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Vendor string of the CPU.
    pub cpu_vendor: String,
    /// Names of its features, sorted.
    pub cpu_features: Vec<String>,
}

/// A vmm's own counters.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// VM exits of all vCPUs.
    pub exits: u64,
    /// KVM's further counters.
    pub kvm: BTreeMap<String, u64>,
}

impl Vmm {
    /// Makes a machine with a loaded kernel; it stands still until [`Vmm::resume`].
    pub async fn boot(
        &self,
        machine: Machine,
        kernel: OwnedFd,
        initramfs: OwnedFd,
        cmdline: String,
    ) -> Result<Vec<Stage>, VmmError> {
        let mut fds = Fds::default();
        let request = wire::Boot {
            machine: Some(fds.machine(machine)),
            kernel_fd: fds.add(kernel),
            initramfs_fd: fds.add(initramfs),
            cmdline,
        };
        self.make("Boot", Request::Boot(request), &fds).await
    }

    /// Makes a machine from saved state; it stands still until [`Vmm::resume`].
    pub async fn restore(
        &self,
        machine: Machine,
        memory: OwnedFd,
        state: OwnedFd,
    ) -> Result<Vec<Stage>, VmmError> {
        let mut fds = Fds::default();
        let request = wire::Restore {
            machine: Some(fds.machine(machine)),
            memory_fd: fds.add(memory),
            state_fd: fds.add(state),
        };
        self.make("Restore", Request::Restore(request), &fds).await
    }

    /// Stops the vCPUs.
    pub async fn pause(&self) -> Result<(), VmmError> {
        self.done("Pause", Request::Pause(wire::Pause {})).await
    }

    /// Lets the vCPUs run.
    pub async fn resume(&self) -> Result<(), VmmError> {
        self.done("Resume", Request::Resume(wire::Resume {})).await
    }

    /// Writes the paused machine into `files`. `disks` gives, for each writable disk, its layer and bitmap.
    pub async fn save(&self, files: SaveFiles<'_>) -> Result<Saved, VmmError> {
        let mut fds = vec![files.memory, files.state];
        let (mut layer_fds, mut layer_bitmap_fds) = (Vec::new(), Vec::new());
        for (layer, bitmap) in files.layers {
            layer_fds.push(fds.len() as u32);
            fds.push(layer);
            layer_bitmap_fds.push(fds.len() as u32);
            fds.push(bitmap);
        }
        let request = wire::Save {
            memory_fd: 0,
            state_fd: 1,
            layer_fds,
            layer_bitmap_fds,
            zstd_level: 0,
        };
        match self
            .link()
            .call("Save", Request::Save(request), &fds, SAVE_CALL)
            .await?
        {
            Reply::Saved(saved) => Ok(Saved {
                cpu_vendor: saved.cpu_vendor,
                cpu_features: saved.cpu_features,
            }),
            _ => Err(VmmError::Protocol("Save was not answered with Saved")),
        }
    }

    /// The machine's counters.
    pub async fn counters(&self) -> Result<Counters, VmmError> {
        match self
            .link()
            .call("Stats", Request::Stats(wire::Stats {}), &[], SHORT_CALL)
            .await?
        {
            Reply::Stats(stats) => Ok(Counters {
                exits: stats.exits,
                kvm: stats.kvm.into_iter().collect(),
            }),
            _ => Err(VmmError::Protocol(
                "Stats was not answered with its figures",
            )),
        }
    }

    /// Lets the network card be heard, within these limits.
    pub async fn unmute(&self, within: NetworkLimits) -> Result<(), VmmError> {
        let request = Request::SetNet(wire::SetNet {
            muted: Some(false),
            limits: Some(limits(within)),
        });
        self.done("SetNet", request).await
    }

    async fn make(
        &self,
        name: &'static str,
        request: Request,
        fds: &Fds,
    ) -> Result<Vec<Stage>, VmmError> {
        let borrowed: Vec<BorrowedFd<'_>> = fds.list.iter().map(AsFd::as_fd).collect();
        match self
            .link()
            .call(name, request, &borrowed, MACHINE_CALL)
            .await?
        {
            Reply::Timed(timed) => Ok(timed
                .stages
                .into_iter()
                .take(MAX_STAGES)
                .map(stage)
                .collect()),
            Reply::Done(_) => Ok(Vec::new()),
            _ => Err(VmmError::Protocol(
                "a machine was not answered with its times",
            )),
        }
    }

    async fn done(&self, name: &'static str, request: Request) -> Result<(), VmmError> {
        match self.link().call(name, request, &[], SHORT_CALL).await? {
            Reply::Done(_) => Ok(()),
            _ => Err(VmmError::Protocol("a request was not answered with Done")),
        }
    }
}

fn limits(limits: NetworkLimits) -> wire::NetLimits {
    let rate = |per_second: u64| {
        (per_second > 0).then_some(wire::Rate {
            per_second,
            burst: per_second,
        })
    };
    let limit = |bytes, frames| {
        Some(wire::NetLimit {
            bytes: rate(bytes),
            frames: rate(frames),
        })
    };
    wire::NetLimits {
        from_guest: limit(limits.egress_bytes, limits.egress_packets),
        to_guest: limit(limits.ingress_bytes, limits.ingress_packets),
    }
}

fn stage(stage: wire::timed::Stage) -> Stage {
    Stage {
        name: stage.name.chars().take(MAX_STAGE_NAME).collect(),
        duration: Duration::from_nanos(stage.nanos),
    }
}

/// Descriptors in the order in which the message names them.
#[derive(Default)]
struct Fds {
    list: Vec<OwnedFd>,
}

impl Fds {
    fn add(&mut self, fd: OwnedFd) -> u32 {
        self.list.push(fd);
        self.list.len() as u32 - 1
    }

    fn machine(&mut self, machine: Machine) -> wire::MachineConfig {
        wire::MachineConfig {
            vcpus: machine.vcpus,
            memory_bytes: machine.memory_bytes,
            disks: machine
                .disks
                .into_iter()
                .map(|disk| self.disk(disk))
                .collect(),
            vsock_cid: GUEST_CID,
            vsock_listener_fd: self.add(machine.vsock_listener),
            console_fd: self.add(machine.console),
            name: machine.name,
            net: machine.net.map(|tap| wire::Net {
                tap_fd: self.add(tap),
                muted: true,
                limits: None,
            }),
        }
    }

    fn disk(&mut self, disk: Disk) -> wire::Disk {
        match disk {
            Disk::ReadOnly(base) => wire::Disk {
                base_fd: self.add(base),
                read_only: true,
                ..Default::default()
            },
            Disk::Writable {
                base,
                overlay,
                layer,
            } => {
                let base_fd = self.add(base);
                let overlay_fd = Some(self.add(overlay));
                let (layer_fd, layer_bitmap_fd) = layer
                    .map(|(data, bitmap)| (self.add(data), self.add(bitmap)))
                    .unzip();
                wire::Disk {
                    base_fd,
                    read_only: false,
                    overlay_fd,
                    layer_fd,
                    layer_bitmap_fd,
                }
            }
        }
    }
}
