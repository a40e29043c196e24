//! The devices of a machine and where they sit.
//!
//! | PCI slot | device |
//! |---|---|
//! | 0 | host bridge |
//! | 1–8 | disks, in order |
//! | 9 | vsock |
//! | 10 | rng |
//! | 11 | balloon |
//! | 12 | network card, if there is one |
//!
//! Beside PCI: the serial port and ACPI's power registers.

use std::io;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::legacy::{AcpiPower, Serial, SerialState, acpi, serial};
use devices::pci::{FunctionState, PciError};
use devices::pci::{HostBridge, PciBus, PciFunction, SavedFunction, Slot};
use devices::virtio::balloon::{Balloon, MemoryReclaim};
use devices::virtio::block::Block;
use devices::virtio::rng::Rng;
use devices::virtio::vsock::Vsock;
use devices::virtio::{Resources, VirtioDevice, VirtioPci, transport};
use devices::{Bus, EventHandler, EventLoop, Memory};
use serde::{Deserialize, Serialize};
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::EventFd;

use super::disks::Disks;
use super::events::GuestEvents;
use super::interrupts::{Messages, Notifications};
use super::net::Card;
use super::vcpus::Buses;
use super::{layout, memory};
use crate::config::MachineConfig;
use crate::config::net::NetConfig;
use crate::kvm::{self, Vm};

const HOST_BRIDGE: Slot = Slot(0);
const FIRST_DISK: u8 = 1;
const VSOCK: Slot = Slot(9);
const RNG: Slot = Slot(10);
const BALLOON: Slot = Slot(11);
const NET: Slot = Slot(12);

/// Why a device cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// On the PCI bus or as a PCI function.
    #[error("PCI")]
    Pci(#[from] PciError),
    /// A virtio function, most likely with a state that it cannot have been in.
    #[error("virtio function in slot {slot}")]
    Virtio {
        /// Its slot.
        slot: u8,
        /// What is wrong.
        #[source]
        source: transport::TransportError,
    },
    /// The serial port.
    #[error("serial port")]
    Serial(#[from] serial::SerialError),
    /// Saved functions that this machine does not have, or the other way round.
    #[error("the snapshot has {saved} PCI functions, the machine {built}")]
    Functions {
        /// How many were saved.
        saved: usize,
        /// How many this machine has.
        built: usize,
    },
    /// A disk.
    #[error("disk {index}")]
    Disk {
        /// Which, counted from 0.
        index: usize,
        /// What is wrong.
        #[source]
        source: snapshots::disk::DiskError,
    },
    /// The host's kernel said no.
    #[error("cannot {action}")]
    Host {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// KVM said no.
    #[error(transparent)]
    Kvm(#[from] kvm::Error),
}

/// All devices of a machine.
pub struct Devices {
    pci: Arc<PciBus>,
    serial: Arc<Serial>,
    balloon: Arc<Mutex<VirtioPci<Balloon>>>,
    disks: Disks,
    net: Option<Card>,
    events: EventLoop,
    notify: Arc<Notifications>,
    buses: Buses,
}

/// The saved state of all devices.
#[derive(Debug, Serialize, Deserialize)]
pub struct DevicesState {
    functions: Vec<SavedFunction>,
    serial: SerialState,
}

impl Devices {
    /// Builds the devices of a new machine, or of one that was saved.
    ///
    /// # Errors
    ///
    /// [`DeviceError`].
    pub fn new(
        config: MachineConfig,
        vm: &Vm,
        memory: &Memory,
        guest_events: &GuestEvents,
        state: Option<&DevicesState>,
    ) -> Result<Self, DeviceError> {
        let notify = Arc::new(Notifications::new(vm.clone()));
        let mut builder = Builder {
            vm,
            memory,
            notify: Arc::clone(&notify),
            pci: PciBus::new(),
            events: EventLoop::new().map_err(host("make an epoll set"))?,
            saved: state.map(|state| state.functions.as_slice()),
            built: 0,
        };
        builder.host_bridge()?;
        let mut disks = Disks::default();
        for (index, disk) in config.disks.into_iter().enumerate() {
            let backend = disks
                .open(disk)
                .map_err(|source| DeviceError::Disk { index, source })?;
            let slot = Slot(FIRST_DISK + index as u8);
            builder.virtio(slot, Block::new(backend, &disk_id(index)))?;
        }
        builder.virtio(VSOCK, vsock(config.shape.vsock_cid, config.vsock_listener)?)?;
        builder.virtio(RNG, Rng::new())?;
        let reclaim = Arc::new(Reclaim(Arc::clone(memory)));
        let balloon = builder.virtio(BALLOON, Balloon::new(reclaim))?;
        let net = config.net.map(|net| builder.net(net)).transpose()?;
        let (pci, events) = builder.finish()?;

        let interrupt = EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)
            .map_err(host("make an eventfd"))?;
        vm.bind_irqfd(&interrupt, serial::IRQ)?;
        let saved = state.map(|state| &state.serial);
        let serial = Arc::new(Serial::new(config.console, interrupt, saved)?);
        let buses = buses(&pci, &serial, guest_events)?;
        Ok(Self {
            pci,
            serial,
            balloon,
            disks,
            net,
            events,
            notify,
            buses,
        })
    }

    /// Where vCPU accesses go.
    pub fn buses(&self) -> &Buses {
        &self.buses
    }

    /// The devices' event loop.
    pub fn events(&self) -> &EventLoop {
        &self.events
    }

    /// The queues' notifications.
    pub fn notifications(&self) -> &Notifications {
        &self.notify
    }

    /// The disks.
    pub fn disks(&self) -> &Disks {
        &self.disks
    }

    /// The network card, if there is one.
    pub fn net(&self) -> Option<&Card> {
        self.net.as_ref()
    }

    /// Saves all devices. Neither vCPUs nor the event loop may run.
    pub fn save(&self) -> DevicesState {
        DevicesState {
            functions: self.pci.save(),
            serial: self.serial.save(),
        }
    }

    /// Asks the guest to give `bytes` back.
    pub fn set_balloon(&self, bytes: u64) {
        lock(&self.balloon).update(|balloon| balloon.set_target(bytes));
    }

    /// Bytes that the guest has given back on request.
    pub fn balloon_bytes(&self) -> u64 {
        lock(&self.balloon).device().inflated()
    }
}

/// Puts functions on the bus one after the other.
struct Builder<'a> {
    vm: &'a Vm,
    memory: &'a Memory,
    notify: Arc<Notifications>,
    pci: Arc<PciBus>,
    events: EventLoop,
    saved: Option<&'a [SavedFunction]>,
    built: usize,
}

impl<'a> Builder<'a> {
    fn host_bridge(&mut self) -> Result<(), DeviceError> {
        let state = self.saved(HOST_BRIDGE)?;
        let bridge = Arc::new(Mutex::new(HostBridge::new(state)?));
        self.insert(HOST_BRIDGE, bridge)
    }

    fn virtio<D: VirtioDevice>(
        &mut self,
        slot: Slot,
        device: D,
    ) -> Result<Arc<Mutex<VirtioPci<D>>>, DeviceError> {
        let state = match self.saved(slot)? {
            None => None,
            Some(FunctionState::Virtio(state)) => Some(state),
            Some(_) => return Err(PciError::BadState("not a virtio function").into()),
        };
        let vectors = transport::vectors(&device);
        let resources = Resources {
            memory: Arc::clone(self.memory),
            interrupts: Arc::new(Messages::new(self.vm.clone(), vectors)),
            notify: Arc::clone(&self.notify) as _,
            bar_address: layout::PCI_WINDOW + u64::from(slot.0) * transport::BAR_SIZE,
        };
        let function =
            VirtioPci::new(device, resources, state).map_err(|source| DeviceError::Virtio {
                slot: slot.0,
                source,
            })?;
        let function = Arc::new(Mutex::new(function));
        self.events
            .add(Arc::clone(&function) as Arc<Mutex<dyn EventHandler>>)
            .map_err(host("watch a device"))?;
        self.insert(slot, Arc::clone(&function) as _)?;
        Ok(function)
    }

    fn net(&mut self, config: NetConfig) -> Result<Card, DeviceError> {
        let (card, device) = Card::new(config).map_err(host("make a network card"))?;
        self.virtio(NET, device)?;
        Ok(card)
    }

    fn insert(
        &mut self,
        slot: Slot,
        function: Arc<Mutex<dyn PciFunction>>,
    ) -> Result<(), DeviceError> {
        self.built += 1;
        Ok(self.pci.insert(slot, function)?)
    }

    /// The saved state of a slot; a snapshot that lacks one does not fit the machine.
    fn saved(&self, slot: Slot) -> Result<Option<&'a FunctionState>, DeviceError> {
        let Some(saved) = self.saved else {
            return Ok(None);
        };
        let found = saved.iter().find(|function| function.slot == slot);
        let missing = PciError::BadState("a function is missing");
        Ok(Some(&found.ok_or(missing)?.state))
    }

    fn finish(self) -> Result<(Arc<PciBus>, EventLoop), DeviceError> {
        match self.saved {
            Some(saved) if saved.len() != self.built => Err(DeviceError::Functions {
                saved: saved.len(),
                built: self.built,
            }),
            _ => Ok((self.pci, self.events)),
        }
    }
}

fn buses(
    pci: &Arc<PciBus>,
    serial: &Arc<Serial>,
    events: &GuestEvents,
) -> Result<Buses, DeviceError> {
    let power = Arc::new(AcpiPower::new(events.power_sink()));
    let mut ports = Bus::new();
    let mut mmio = Bus::new();
    ports
        .insert(serial::BASE, serial::SIZE, Arc::clone(serial) as _)
        .and_then(|()| ports.insert(layout::POWER_PORT, acpi::SIZE, power))
        .and_then(|()| mmio.insert(layout::ECAM, layout::ECAM_BYTES, pci.ecam()))
        .and_then(|()| {
            let window = pci.mmio(layout::PCI_WINDOW);
            mmio.insert(layout::PCI_WINDOW, layout::PCI_WINDOW_BYTES, window)
        })
        .map_err(io::Error::other)
        .map_err(host("lay out the buses"))?;
    Ok(Buses {
        ports: Arc::new(ports),
        mmio: Arc::new(mmio),
    })
}

fn vsock(cid: u32, listener: UnixListener) -> Result<Vsock, DeviceError> {
    // Guests have nothing to reach on the host's side: only the host connects.
    Vsock::new(cid, listener, None).map_err(host("watch the vsock listener"))
}

/// What the guest reads as the disk's serial number: `disk0`, `disk1`, …
fn disk_id(index: usize) -> String {
    format!("disk{index}")
}

struct Reclaim(Memory);

impl MemoryReclaim for Reclaim {
    fn discard(&self, start: GuestAddress, len: u64) -> io::Result<()> {
        memory::discard(&self.0, start, len as usize)
    }
}

fn host(action: &'static str) -> impl FnOnce(io::Error) -> DeviceError {
    move |source| DeviceError::Host { action, source }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
