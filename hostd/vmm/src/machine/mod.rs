//! A whole machine: memory, vCPUs, devices.
//!
//! ```text
//!              boot, restore            resume
//!   Prepared ────────────────▶ paused ◀────────▶ running
//!                              │    ▲   pause       │ the guest powers off, resets, or fails
//!                              │save│               ▼
//!                              └────┘             ended (stays paused)
//! ```
//!
//! One thread, the caller's, owns the machine and runs its devices; each vCPU has a thread of its own.

pub mod devices;
mod disks;
pub mod events;
mod interrupts;
pub mod layout;
pub mod memory;
mod net;
mod saved_memory;
pub mod timing;
pub mod vcpus;

use std::ffi::CString;
use std::num::NonZeroUsize;
use std::sync::Arc;

use ::devices::Memory;
use kvm_bindings::CpuId;
use snapshots::memory::{Summary, WriteError, WriteOptions, write_memory};

use self::devices::{DeviceError, Devices};
use self::events::GuestEvents;
use self::memory::MemoryError;
use self::saved_memory::{MappedMemory, Residency};
use self::timing::Stages;
use self::vcpus::{IdleThread, Vcpus};
use crate::boot::{self, acpi, cpuid, kernel, registers};
use crate::config::net::NetChange;
use crate::config::{BootConfig, MachineConfig, RestoreConfig, SaveConfig, Shape};
use crate::jail::JailError;
use crate::jail::seccomp::Filter;
use crate::kvm::{self, Host, Vcpu, Vm};
use crate::state::{MachineState, StateError};

/// Why a machine could not be built, saved or changed.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// KVM said no.
    #[error(transparent)]
    Kvm(#[from] kvm::Error),
    /// Guest memory could not be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The kernel cannot be booted.
    #[error(transparent)]
    Boot(#[from] boot::Error),
    /// A device could not be set up.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The saved state is damaged or of another machine.
    #[error(transparent)]
    State(#[from] StateError),
    /// KVM does not take the saved state.
    #[error("KVM refuses the saved state")]
    StateRefused(#[source] kvm::Error),
    /// The saved machine cannot run on this processor.
    #[error(transparent)]
    Cpu(#[from] cpuid::Incompatible),
    /// Nobody can say which pages of memory exist.
    #[error("cannot look at the page map")]
    Residency(#[source] std::io::Error),
    /// Memory could not be written to its file.
    #[error("cannot save memory")]
    SaveMemory(#[from] WriteError),
    /// A disk's layer could not be written to its files.
    #[error("cannot save disk {index}")]
    SaveDisk {
        /// Which writable disk, counted from 0.
        index: usize,
        /// What went wrong.
        #[source]
        source: snapshots::disk::DiskError,
    },
    /// The balloon cannot be larger than the machine's memory.
    #[error("a balloon of {asked} bytes in a machine of {memory}")]
    BalloonSize {
        /// What was asked for.
        asked: u64,
        /// The machine's memory.
        memory: u64,
    },
    /// There is no network card to change.
    #[error("the machine has no network card")]
    NoNet,
    /// The network card does not hear of its change.
    #[error("cannot change the network card")]
    SetNet(#[source] std::io::Error),
    /// This thread could not be locked up before the guest runs.
    #[error(transparent)]
    Filter(JailError),
    /// A thread or a descriptor could not be had.
    #[error("cannot start the vCPU threads")]
    Threads(#[source] std::io::Error),
}

/// What can be done before anybody has said what machine it is to be: opening KVM takes longer than all
/// the rest of a restore.
#[derive(Debug)]
pub struct Prepared {
    host: Host,
    vm: Vm,
    supported: CpuId,
    first_vcpu: Vcpu,
    residency: Residency,
    /// Cores to compress a snapshot with; finding out takes a path.
    cores: NonZeroUsize,
}

/// What the machine's vCPU threads are made of.
#[derive(Debug)]
pub struct Threads<'a> {
    /// For the first vCPU.
    pub first: IdleThread,
    /// For those of the others.
    pub filter: &'a Filter,
    /// Where they report the guest's end.
    pub events: &'a GuestEvents,
}

impl Prepared {
    /// Opens KVM and makes an empty machine with one vCPU.
    ///
    /// # Errors
    ///
    /// When KVM is missing or unfit.
    pub fn new() -> Result<Self, kvm::Error> {
        let host = Host::open()?;
        let vm = host.create_vm()?;
        vm.create_irqchip()?;
        let first_vcpu = vm.create_vcpu(0)?;
        let supported = host.supported_cpuid()?;
        Ok(Self {
            host,
            vm,
            supported,
            first_vcpu,
            residency: Residency::open(),
            cores: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        })
    }
}

/// A machine with everything it needs to run.
pub struct Machine {
    // Dropped first: no vCPU may run while its devices go away.
    vcpus: Vcpus,
    devices: Devices,
    shape: Shape,
    memory: Memory,
    vm: Vm,
    host: Host,
    residency: Residency,
    cores: NonZeroUsize,
    stats: Vec<kvm::stats::VcpuStats>,
}

/// What saving a machine found out about it.
#[derive(Debug)]
pub struct Saved {
    /// Bytes of memory.
    pub memory: Summary,
    /// The guest's processor: its vendor.
    pub cpu_vendor: String,
    /// And its features.
    pub cpu_features: Vec<String>,
}

impl Machine {
    /// Builds a machine with a kernel at its entry. It is paused.
    ///
    /// # Errors
    ///
    /// When the description is impossible or the host says no.
    pub fn boot(
        prepared: Prepared,
        config: BootConfig,
        threads: Threads<'_>,
        stages: &mut Stages,
    ) -> Result<Self, MachineError> {
        let shape = config.machine.shape.clone();
        let memory = Arc::new(memory::anonymous(shape.memory_bytes)?);
        let mut parts = Parts::assemble(prepared, memory, shape, stages)?;
        let rsdp = acpi::write(&parts.memory, parts.shape.vcpus)?;
        let bytes = parts.shape.memory_bytes;
        let entry = kernel::load(&parts.memory, bytes, config.payload, rsdp)?;
        stages.done("kernel");
        for (id, vcpu) in (0..).zip(&mut parts.vcpus) {
            let entries = cpuid::for_vcpu(&parts.supported, id, parts.shape.vcpus);
            vcpu.set_cpuid(&entries)?;
            registers::set_msrs(vcpu)?;
        }
        if let Some(first) = parts.vcpus.first() {
            registers::enter(first, &parts.memory, entry)?;
        }
        stages.done("vcpu state");
        parts.finish(config.machine, None, threads, stages)
    }

    /// Builds a machine as it was saved. It is paused.
    ///
    /// # Errors
    ///
    /// When the snapshot is damaged, does not fit the description or this host.
    pub fn restore(
        prepared: Prepared,
        config: RestoreConfig,
        threads: Threads<'_>,
        stages: &mut Stages,
    ) -> Result<Self, MachineError> {
        let shape = config.machine.shape.clone();
        let state = MachineState::read(&config.state, &shape)?;
        for vcpu in &state.vcpus {
            cpuid::check(vcpu.cpuid(), prepared.supported.as_slice())?;
        }
        stages.done("read state");
        let memory = Arc::new(memory::template(shape.memory_bytes, config.memory)?);
        let mut parts = Parts::assemble(prepared, memory, shape, stages)?;
        kvm::restore_tscs(&parts.vcpus, &state.vcpus).map_err(MachineError::StateRefused)?;
        for (vcpu, saved) in parts.vcpus.iter_mut().zip(&state.vcpus) {
            vcpu.restore(saved).map_err(MachineError::StateRefused)?;
        }
        parts
            .vm
            .restore(&state.vm)
            .map_err(MachineError::StateRefused)?;
        stages.done("vcpu state");
        parts.finish(config.machine, Some(state), threads, stages)
    }

    /// Lets the guest run. The machine must be paused.
    pub fn resume(&self) {
        self.devices.events().resume();
        self.vcpus.resume();
    }

    /// Stops the guest. Devices stand still as well as long as their event loop is not called.
    pub fn pause(&self) {
        self.vcpus.pause();
    }

    /// Writes the whole machine to files. It must be paused, and stays so.
    ///
    /// # Errors
    ///
    /// When KVM or the file system says no; the machine is unharmed.
    pub fn save(&self, config: &SaveConfig) -> Result<Saved, MachineError> {
        let msr_indices = self.host.msr_indices()?;
        let state = MachineState {
            shape: self.shape.clone(),
            vcpus: self.vcpus.save(&msr_indices)?,
            vm: self.vm.save()?,
            devices: self.devices.save(),
        };
        state.write(&config.state)?;
        let disks = self.devices.disks().writable().iter();
        for (index, (disk, files)) in disks.zip(&config.layers).enumerate() {
            disk.save_layer(&files.data, &files.bitmap)
                .map_err(|source| MachineError::SaveDisk { index, source })?;
        }
        let options = WriteOptions {
            level: config.zstd_level,
            threads: Some(self.cores),
        };
        let source =
            MappedMemory::new(&self.memory, &self.residency).map_err(MachineError::Residency)?;
        let memory = write_memory(&config.memory, &source, &options)?;
        let cpuid = state.vcpus.first().map(kvm::VcpuState::cpuid);
        let cpuid = cpuid.unwrap_or_default();
        Ok(Saved {
            memory,
            cpu_vendor: cpuid::vendor(cpuid),
            cpu_features: cpuid::features(cpuid),
        })
    }

    /// The devices.
    pub fn devices(&self) -> &Devices {
        &self.devices
    }

    /// What the guest sees of the machine.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// KVM's counters, summed over all vCPUs, which may run.
    ///
    /// # Errors
    ///
    /// When KVM has no counters.
    pub fn kvm_counters(&self) -> Result<std::collections::BTreeMap<String, u64>, MachineError> {
        let mut sums = std::collections::BTreeMap::new();
        for stats in &self.stats {
            stats.add_to(&mut sums)?;
        }
        Ok(sums)
    }

    /// Asks the guest to give `bytes` of memory back.
    ///
    /// # Errors
    ///
    /// [`MachineError::BalloonSize`].
    pub fn set_balloon(&self, bytes: u64) -> Result<(), MachineError> {
        if bytes > self.shape.memory_bytes {
            return Err(MachineError::BalloonSize {
                asked: bytes,
                memory: self.shape.memory_bytes,
            });
        }
        self.devices.set_balloon(bytes);
        Ok(())
    }

    /// Mutes the network card, lets it be heard, or limits it. The machine may run.
    ///
    /// # Errors
    ///
    /// [`MachineError::NoNet`], or when the device cannot be told.
    pub fn set_net(&self, change: &NetChange) -> Result<(), MachineError> {
        let card = self.devices.net().ok_or(MachineError::NoNet)?;
        card.change(change).map_err(MachineError::SetNet)
    }
}

/// A machine that has memory and vCPUs but no devices and threads yet.
struct Parts {
    host: Host,
    vm: Vm,
    supported: CpuId,
    vcpus: Vec<Vcpu>,
    memory: Memory,
    shape: Shape,
    residency: Residency,
    cores: NonZeroUsize,
}

impl Parts {
    fn assemble(
        prepared: Prepared,
        memory: Memory,
        shape: Shape,
        stages: &mut Stages,
    ) -> Result<Self, MachineError> {
        let Prepared {
            host,
            mut vm,
            supported,
            first_vcpu,
            residency,
            cores,
        } = prepared;
        vm.set_memory(&memory)?;
        stages.done("memory");
        let mut vcpus = vec![first_vcpu];
        for id in 1..shape.vcpus {
            vcpus.push(vm.create_vcpu(id)?);
        }
        stages.done("vcpus");
        Ok(Self {
            host,
            vm,
            supported,
            vcpus,
            memory,
            shape,
            residency,
            cores,
        })
    }

    fn finish(
        self,
        config: MachineConfig,
        state: Option<MachineState>,
        threads: Threads<'_>,
        stages: &mut Stages,
    ) -> Result<Machine, MachineError> {
        let state = state.map(|state| state.devices);
        show_name(&config.name);
        let Threads {
            first,
            filter,
            events,
        } = threads;
        let devices = Devices::new(config, &self.vm, &self.memory, events, state.as_ref())?;
        stages.done("devices");
        // An old kernel has no counters; then they cannot be asked for.
        let stats = self.vcpus.iter().map(kvm::stats::VcpuStats::open);
        let stats = stats.collect::<Result<_, _>>().unwrap_or_default();
        let vcpus = Vcpus::spawn(self.vcpus, first, devices.buses(), events, filter)
            .map_err(MachineError::Threads)?;
        stages.done("threads");
        Ok(Machine {
            vcpus,
            devices,
            shape: self.shape,
            memory: self.memory,
            vm: self.vm,
            host: self.host,
            residency: self.residency,
            cores: self.cores,
            stats,
        })
    }
}

/// What `ps` shows of the process; the kernel cuts it to 15 bytes.
fn show_name(name: &str) {
    let title: Vec<u8> = format!("vmm {name}").into_bytes();
    let title = CString::new(title).unwrap_or_default();
    // A name that cannot be set is no reason not to run.
    let _ = nix::sys::prctl::set_name(&title);
}
