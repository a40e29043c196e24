//! One machine: memory slots, interrupt controllers, notifications, its clock.
#![expect(unsafe_code, reason = "a memory slot hands KVM a raw address")]

use std::os::fd::AsRawFd;
use std::sync::Arc;

use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_clock_data, kvm_irqchip,
    kvm_msi, kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, IoEventAddress, NoDatamatch, VmFd};
use serde::{Deserialize, Serialize};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion};
use vmm_sys_util::eventfd::EventFd;

use super::{Error, Vcpu};

/// Three pages that Intel's real-mode emulation wants; the e820 map calls them reserved.
const TSS_ADDRESS: usize = 0xfffb_d000;
/// One page for the identity map of the same emulation.
const IDENTITY_MAP_ADDRESS: u64 = 0xfffb_c000;

/// A machine as KVM knows it.
#[derive(Clone, Debug)]
pub struct Vm {
    fd: Arc<VmFd>,
    // Held so that what the memory slots point at stays mapped as long as the machine can run.
    memory: Option<GuestMemoryMmap>,
}

/// What KVM itself holds of a machine, beside its vCPUs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VmState {
    /// The two PICs and the IOAPIC.
    irqchips: [kvm_irqchip; 3],
    /// The paravirtual clock at the time of saving, in nanoseconds since the guest's boot.
    clock_nanos: u64,
}

impl Vm {
    pub(super) fn new(fd: VmFd) -> Self {
        Self {
            fd: Arc::new(fd),
            memory: None,
        }
    }

    /// Adds the interrupt controllers. Call before any vCPU is made.
    ///
    /// # Errors
    ///
    /// When KVM refuses.
    pub fn create_irqchip(&self) -> Result<(), Error> {
        self.fd
            .set_identity_map_address(IDENTITY_MAP_ADDRESS)
            .map_err(Error::call("KVM_SET_IDENTITY_MAP_ADDR"))?;
        self.fd
            .set_tss_address(TSS_ADDRESS)
            .map_err(Error::call("KVM_SET_TSS_ADDR"))?;
        self.fd
            .create_irq_chip()
            .map_err(Error::call("KVM_CREATE_IRQCHIP"))
    }

    /// Gives the machine its memory: one slot for each region.
    ///
    /// # Errors
    ///
    /// When KVM refuses a slot.
    pub fn set_memory(&mut self, memory: &GuestMemoryMmap) -> Result<(), Error> {
        for (slot, region) in (0..).zip(memory.iter()) {
            let host_address = memory
                .get_host_address(region.start_addr())
                .map_err(|_| Error::Capability("a mapping of guest memory"))?;
            let slot = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: region.start_addr().0,
                memory_size: region.len(),
                userspace_addr: host_address as u64,
            };
            // SAFETY: the region maps `memory_size` bytes at `userspace_addr`, and stays mapped
            // because this machine keeps a reference to it.
            unsafe { self.fd.set_user_memory_region(slot) }
                .map_err(Error::call("KVM_SET_USER_MEMORY_REGION"))?;
        }
        self.memory = Some(memory.clone());
        Ok(())
    }

    /// Makes the vCPU with this APIC id.
    ///
    /// # Errors
    ///
    /// When KVM refuses.
    pub fn create_vcpu(&self, id: u8) -> Result<Vcpu, Error> {
        let fd = self
            .fd
            .create_vcpu(u64::from(id))
            .map_err(Error::call("KVM_CREATE_VCPU"))?;
        Ok(Vcpu::new(fd, self.xsave_size()))
    }

    /// Makes a write of `event` raise the interrupt `gsi`.
    ///
    /// # Errors
    ///
    /// When KVM refuses.
    pub fn bind_irqfd(&self, event: &EventFd, gsi: u32) -> Result<(), Error> {
        self.fd
            .register_irqfd(event, gsi)
            .map_err(Error::call("KVM_IRQFD"))
    }

    /// Makes a guest write of any size and value at `address` signal `event` without an exit to user space.
    ///
    /// # Errors
    ///
    /// When KVM refuses.
    pub fn bind_ioeventfd(&self, event: &EventFd, address: GuestAddress) -> Result<(), Error> {
        self.fd
            .register_ioevent(event, &IoEventAddress::Mmio(address.0), NoDatamatch)
            .map_err(Error::call("KVM_IOEVENTFD"))
    }

    /// Undoes [`Vm::bind_ioeventfd`].
    ///
    /// # Errors
    ///
    /// When KVM refuses.
    pub fn unbind_ioeventfd(&self, event: &EventFd, address: GuestAddress) -> Result<(), Error> {
        self.fd
            .unregister_ioevent(event, &IoEventAddress::Mmio(address.0), NoDatamatch)
            .map_err(Error::call("KVM_IOEVENTFD"))
    }

    /// Delivers a message interrupt: what the guest wrote into an MSI-X entry.
    ///
    /// This takes one system call, as signalling an irqfd would, but needs neither a descriptor nor
    /// an entry in KVM's routing table for each vector, and changing that table waits for all
    /// vCPUs to have left their current exit.
    ///
    /// # Errors
    ///
    /// When KVM refuses the message.
    pub fn signal_msi(&self, address: u64, data: u32) -> Result<(), Error> {
        let msi = kvm_msi {
            address_lo: address as u32,
            address_hi: (address >> 32) as u32,
            data,
            ..Default::default()
        };
        self.fd
            .signal_msi(msi)
            .map(|_| ())
            .map_err(Error::call("KVM_SIGNAL_MSI"))
    }

    /// Saves what KVM holds of the machine. Its vCPUs must be paused.
    ///
    /// # Errors
    ///
    /// When a call fails.
    pub fn save(&self) -> Result<VmState, Error> {
        let clock = self.fd.get_clock().map_err(Error::call("KVM_GET_CLOCK"))?;
        Ok(VmState {
            irqchips: [
                self.irqchip(KVM_IRQCHIP_PIC_MASTER)?,
                self.irqchip(KVM_IRQCHIP_PIC_SLAVE)?,
                self.irqchip(KVM_IRQCHIP_IOAPIC)?,
            ],
            clock_nanos: clock.clock,
        })
    }

    /// The inverse of [`Vm::save`], on a machine that has its irqchip and has never run.
    ///
    /// # Errors
    ///
    /// When KVM does not take the state.
    pub fn restore(&self, state: &VmState) -> Result<(), Error> {
        let ids = [
            KVM_IRQCHIP_PIC_MASTER,
            KVM_IRQCHIP_PIC_SLAVE,
            KVM_IRQCHIP_IOAPIC,
        ];
        for (id, saved) in ids.into_iter().zip(&state.irqchips) {
            let mut irqchip = *saved;
            // The id selects the controller; a snapshot has no say in it.
            irqchip.chip_id = id;
            self.fd
                .set_irqchip(&irqchip)
                .map_err(Error::call("KVM_SET_IRQCHIP"))?;
        }
        // Without KVM_CLOCK_REALTIME: the guest's monotonic time goes on from where it stopped, and
        // the agent steps the wall clock.
        let clock = kvm_clock_data {
            clock: state.clock_nanos,
            ..Default::default()
        };
        self.fd
            .set_clock(&clock)
            .map_err(Error::call("KVM_SET_CLOCK"))
    }

    fn irqchip(&self, id: u32) -> Result<kvm_irqchip, Error> {
        let mut irqchip = kvm_irqchip {
            chip_id: id,
            ..Default::default()
        };
        self.fd
            .get_irqchip(&mut irqchip)
            .map_err(Error::call("KVM_GET_IRQCHIP"))?;
        Ok(irqchip)
    }

    /// Bytes of a vCPU's extended state.
    fn xsave_size(&self) -> usize {
        let size = self.fd.check_extension_int(Cap::Xsave2);
        usize::try_from(size)
            .unwrap_or(0)
            .max(size_of::<kvm_bindings::kvm_xsave>())
    }
}

impl AsRawFd for Vm {
    fn as_raw_fd(&self) -> i32 {
        self.fd.as_raw_fd()
    }
}
