//! What a machine is to be, checked: from the message to types that can only be right.

pub mod net;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use devices::virtio::net::TapError;
use protocol::vmm::v1 as wire;
use serde::{Deserialize, Serialize};
use snapshots::disk::LayerFiles;

use self::net::NetConfig;
use crate::boot::kernel::Payload;
use crate::control::fds::{FdError, Fds};
use crate::machine::layout::{GIB, MIB};

/// More would need x2APIC ids in ACPI and buys a sandbox nothing.
pub const MAX_VCPUS: u32 = 8;
/// Less does not hold Debian's kernel and its initramfs.
pub const MIN_MEMORY_BYTES: u64 = 64 * MIB;
/// The largest machine.
pub const MAX_MEMORY_BYTES: u64 = 16 * GIB;
/// Memory comes in huge pages of the processor.
pub const MEMORY_UNIT_BYTES: u64 = 2 * MIB;
/// `/dev/vda` to `/dev/vdh`.
pub const MAX_DISKS: usize = 8;
/// 0, 1 and 2 are reserved by vsock.
pub const MIN_VSOCK_CID: u32 = 3;

/// What is wrong with a machine's description.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A part of the message is missing.
    #[error("the request has no {0}")]
    Missing(&'static str),
    /// A number is outside of what a machine may have.
    #[error("{what} is {value}, must be {expected}")]
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// What it is.
        value: u64,
        /// What it must be.
        expected: &'static str,
    },
    /// A disk's descriptors contradict each other.
    #[error("disk {index}: {reason}")]
    Disk {
        /// Which disk, counted from 0.
        index: usize,
        /// What is wrong.
        reason: &'static str,
    },
    /// The network card's other end is none.
    #[error("network card")]
    Tap(#[from] TapError),
    /// A descriptor is missing or used twice.
    #[error(transparent)]
    Fd(#[from] FdError),
}

/// The parts of a machine that a guest can see: saved with it, and the same when it is restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// 1 to [`MAX_VCPUS`].
    pub vcpus: u8,
    /// Guest memory in bytes.
    pub memory_bytes: u64,
    /// For each disk, whether the guest may only read it.
    pub read_only_disks: Vec<bool>,
    /// The guest's vsock address.
    pub vsock_cid: u32,
    /// Whether there is a network card.
    pub net: bool,
}

/// A whole machine: its shape and the descriptors that bring it to life.
#[derive(Debug)]
pub struct MachineConfig {
    /// What the guest sees.
    pub shape: Shape,
    /// In PCI order.
    pub disks: Vec<DiskConfig>,
    /// Accepts connections from the host side of vsock.
    pub vsock_listener: UnixListener,
    /// Takes the serial console's output.
    pub console: OwnedFd,
    /// The network card.
    pub net: Option<NetConfig>,
    /// For logs and the process title.
    pub name: String,
}

/// One disk's files.
#[derive(Debug)]
pub enum DiskConfig {
    /// A file that the guest reads.
    ReadOnly(File),
    /// A base that is only read, a snapshot's layer over it, and what this guest writes over both.
    Writable {
        /// The image's file.
        base: File,
        /// The snapshot's layer.
        layer: Option<LayerFiles>,
        /// An empty sparse file.
        overlay: File,
    },
}

/// A checked request to boot.
#[derive(Debug)]
pub struct BootConfig {
    /// The machine.
    pub machine: MachineConfig,
    /// What it boots.
    pub payload: Payload,
}

/// A checked request to restore.
#[derive(Debug)]
pub struct RestoreConfig {
    /// The machine.
    pub machine: MachineConfig,
    /// Guest memory, region after region.
    pub memory: File,
    /// Device and vCPU state.
    pub state: File,
}

/// A checked request to save.
#[derive(Debug)]
pub struct SaveConfig {
    /// Receives the memory.
    pub memory: File,
    /// Receives the state.
    pub state: File,
    /// For each writable disk, in order, the files for its merged layer.
    pub layers: Vec<LayerFiles>,
    /// 0 is the format's default.
    pub zstd_level: i32,
}

impl BootConfig {
    /// Checks a message and takes its descriptors.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn parse(boot: wire::Boot, fds: &mut Fds) -> Result<Self, ConfigError> {
        let machine = boot.machine.ok_or(ConfigError::Missing("machine"))?;
        Ok(Self {
            machine: MachineConfig::parse(machine, fds)?,
            payload: Payload {
                kernel: fds.file("kernel", boot.kernel_fd)?,
                initramfs: fds.file("initramfs", boot.initramfs_fd)?,
                cmdline: boot.cmdline,
            },
        })
    }
}

impl RestoreConfig {
    /// Checks a message and takes its descriptors.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn parse(restore: wire::Restore, fds: &mut Fds) -> Result<Self, ConfigError> {
        let machine = restore.machine.ok_or(ConfigError::Missing("machine"))?;
        Ok(Self {
            machine: MachineConfig::parse(machine, fds)?,
            memory: fds.file("memory", restore.memory_fd)?,
            state: fds.file("state", restore.state_fd)?,
        })
    }
}

impl SaveConfig {
    /// Checks a message for a machine with `writable_disks` and takes its descriptors.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn parse(
        save: wire::Save,
        writable_disks: usize,
        fds: &mut Fds,
    ) -> Result<Self, ConfigError> {
        let counts = [save.layer_fds.len(), save.layer_bitmap_fds.len()];
        if let Some(count) = counts.into_iter().find(|count| *count != writable_disks) {
            return Err(ConfigError::OutOfRange {
                what: "number of layer files",
                value: count as u64,
                expected: "the number of writable disks",
            });
        }
        let layers = save.layer_fds.iter().zip(&save.layer_bitmap_fds);
        let layers = layers.map(|(data, bitmap)| {
            Ok(LayerFiles {
                data: fds.file("layer", *data)?,
                bitmap: fds.file("layer bitmap", *bitmap)?,
            })
        });
        Ok(Self {
            layers: layers.collect::<Result<_, ConfigError>>()?,
            memory: fds.file("memory", save.memory_fd)?,
            state: fds.file("state", save.state_fd)?,
            zstd_level: save.zstd_level,
        })
    }
}

impl MachineConfig {
    fn parse(machine: wire::MachineConfig, fds: &mut Fds) -> Result<Self, ConfigError> {
        let shape = Shape::parse(&machine)?;
        let disks = machine.disks.iter().enumerate();
        let disks = disks.map(|(index, disk)| DiskConfig::parse(index, disk, fds));
        Ok(Self {
            shape,
            disks: disks.collect::<Result<_, _>>()?,
            vsock_listener: fds
                .take("vsock listener", machine.vsock_listener_fd)?
                .into(),
            console: fds.take("console", machine.console_fd)?,
            net: machine
                .net
                .map(|net| NetConfig::parse(net, fds))
                .transpose()?,
            name: machine.name,
        })
    }
}

impl Shape {
    fn parse(machine: &wire::MachineConfig) -> Result<Self, ConfigError> {
        let vcpus = within(
            "vcpus",
            u64::from(machine.vcpus),
            (1..=MAX_VCPUS).contains(&machine.vcpus),
            "1 to 8",
        )?;
        let bytes = machine.memory_bytes;
        let memory_bytes = within(
            "memory_bytes",
            bytes,
            (MIN_MEMORY_BYTES..=MAX_MEMORY_BYTES).contains(&bytes)
                && bytes.is_multiple_of(MEMORY_UNIT_BYTES),
            "64 MiB to 16 GiB in units of 2 MiB",
        )?;
        within(
            "number of disks",
            machine.disks.len() as u64,
            machine.disks.len() <= MAX_DISKS,
            "at most 8",
        )?;
        within(
            "vsock_cid",
            u64::from(machine.vsock_cid),
            (MIN_VSOCK_CID..u32::MAX).contains(&machine.vsock_cid),
            "3 or more and not the largest",
        )?;
        Ok(Self {
            vcpus: vcpus as u8,
            memory_bytes,
            read_only_disks: machine.disks.iter().map(|disk| disk.read_only).collect(),
            vsock_cid: machine.vsock_cid,
            net: machine.net.is_some(),
        })
    }

    /// How many disks the guest can write to.
    pub fn writable_disks(&self) -> usize {
        self.read_only_disks.iter().filter(|only| !**only).count()
    }
}

fn within(
    what: &'static str,
    value: u64,
    ok: bool,
    expected: &'static str,
) -> Result<u64, ConfigError> {
    if ok {
        return Ok(value);
    }
    Err(ConfigError::OutOfRange {
        what,
        value,
        expected,
    })
}

impl DiskConfig {
    fn parse(index: usize, disk: &wire::Disk, fds: &mut Fds) -> Result<Self, ConfigError> {
        let wrong = |reason| Err(ConfigError::Disk { index, reason });
        // An image is shared by all machines, and both disks of one may even be the same file.
        let base = fds.file("disk base", disk.base_fd)?;
        if disk.read_only {
            let extra = [disk.overlay_fd, disk.layer_fd, disk.layer_bitmap_fd];
            if extra.iter().any(Option::is_some) {
                return wrong("a read-only disk has no layers");
            }
            return Ok(Self::ReadOnly(base));
        }
        let Some(overlay) = disk.overlay_fd else {
            return wrong("a writable disk needs an overlay");
        };
        let layer = match (disk.layer_fd, disk.layer_bitmap_fd) {
            (None, None) => None,
            (Some(data), Some(bitmap)) => Some(LayerFiles {
                data: fds.file("disk layer", data)?,
                bitmap: fds.file("disk layer bitmap", bitmap)?,
            }),
            _ => return wrong("a layer has both data and bitmap"),
        };
        Ok(Self::Writable {
            base,
            layer,
            overlay: fds.file("disk overlay", overlay)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> wire::MachineConfig {
        wire::MachineConfig {
            vcpus: 2,
            memory_bytes: 256 * MIB,
            vsock_cid: 3,
            ..Default::default()
        }
    }

    #[test]
    fn a_sensible_machine_is_taken() {
        let shape = Shape::parse(&machine()).unwrap();
        assert_eq!((shape.vcpus, shape.memory_bytes), (2, 256 * MIB));
    }

    #[test]
    fn impossible_sizes_are_refused() {
        type Change = fn(&mut wire::MachineConfig);
        let changes: [Change; 8] = [
            |machine| machine.vcpus = 0,
            |machine| machine.vcpus = 9,
            |machine| machine.memory_bytes = 0,
            |machine| machine.memory_bytes = 256 * MIB + 4096,
            |machine| machine.memory_bytes = u64::MAX,
            |machine| machine.vsock_cid = 2,
            |machine| machine.vsock_cid = u32::MAX,
            |machine| machine.disks = vec![wire::Disk::default(); 9],
        ];
        for change in changes {
            let mut machine = machine();
            change(&mut machine);
            let refused = Shape::parse(&machine);
            assert!(matches!(refused, Err(ConfigError::OutOfRange { .. })));
        }
    }

    #[test]
    fn layers_belong_to_writable_disks() {
        let fds = || {
            let file = || OwnedFd::from(File::open("/dev/null").unwrap());
            Fds::new(vec![file(), file(), file()])
        };
        let read_only = wire::Disk {
            read_only: true,
            overlay_fd: Some(1),
            ..Default::default()
        };
        let bare = wire::Disk::default();
        let half = wire::Disk {
            overlay_fd: Some(1),
            layer_fd: Some(2),
            ..Default::default()
        };
        for disk in [read_only, bare, half] {
            let refused = DiskConfig::parse(0, &disk, &mut fds());
            assert!(matches!(refused, Err(ConfigError::Disk { .. })));
        }
    }
}
