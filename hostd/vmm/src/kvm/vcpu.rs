//! One processor.
#![expect(
    unsafe_code,
    reason = "a kick writes one byte of the shared kvm_run page from another thread"
)]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

use kvm_bindings::{CpuId, Msrs, kvm_cpuid_entry2, kvm_msr_entry, kvm_regs, kvm_sregs};
use kvm_ioctls::{VcpuExit, VcpuFd};

use super::Error;
use super::exit::{Broken, Exit};

/// One processor of a machine.
#[derive(Debug)]
pub struct Vcpu {
    pub(super) fd: VcpuFd,
    /// Bytes of its extended state on this host.
    pub(super) xsave_size: usize,
    /// What the guest was shown: not asked back from KVM, which mixes in what the guest has switched on.
    pub(super) cpuid: Vec<kvm_cpuid_entry2>,
}

/// Makes a vCPU come back soon, from any thread.
///
/// Setting it makes the next `KVM_RUN` finish what is pending and return at once; a vCPU that is
/// inside `KVM_RUN` needs a signal as well.
#[derive(Clone, Copy, Debug)]
pub struct Kick {
    immediate_exit: NonNull<AtomicU8>,
}

// SAFETY: the flag is only accessed atomically, and KVM defines it as writable by other threads.
unsafe impl Send for Kick {}
// SAFETY: as above.
unsafe impl Sync for Kick {}

impl Kick {
    /// Sets or clears the flag.
    ///
    /// # Safety
    ///
    /// The vCPU that the kick was taken from must still exist.
    pub unsafe fn set(&self, on: bool) {
        // SAFETY: the caller keeps the vCPU and with it the mapping of its kvm_run page.
        unsafe { self.immediate_exit.as_ref() }.store(u8::from(on), Ordering::SeqCst);
    }
}

impl Vcpu {
    pub(super) fn new(fd: VcpuFd, xsave_size: usize) -> Self {
        Self {
            fd,
            xsave_size,
            cpuid: Vec::new(),
        }
    }

    /// The handle for kicking this vCPU. It must not be used after the vCPU is dropped.
    pub fn kick(&mut self) -> Kick {
        let flag = NonNull::from(&mut self.fd.get_kvm_run().immediate_exit);
        Kick {
            immediate_exit: flag.cast(),
        }
    }

    /// Runs the guest until it needs the vmm.
    pub fn run(&mut self) -> Exit<'_> {
        match self.fd.run() {
            Ok(VcpuExit::IoIn(port, data)) => Exit::PortRead { port, data },
            Ok(VcpuExit::IoOut(port, data)) => Exit::PortWrite { port, data },
            Ok(VcpuExit::MmioRead(address, data)) => Exit::MmioRead { address, data },
            Ok(VcpuExit::MmioWrite(address, data)) => Exit::MmioWrite { address, data },
            Ok(VcpuExit::Shutdown) => Exit::Shutdown,
            Ok(VcpuExit::Hlt) => Exit::Halt,
            Ok(VcpuExit::Intr) => Exit::Interrupted,
            Ok(VcpuExit::FailEntry(reason, _)) => Exit::Broken(Broken::Entry(reason)),
            Ok(VcpuExit::InternalError) => Exit::Broken(Broken::Internal),
            Ok(other) => Exit::Broken(Broken::Unexpected(format!("{other:?}"))),
            Err(errno) if matches!(errno.errno(), libc::EINTR | libc::EAGAIN) => Exit::Interrupted,
            Err(errno) => Exit::Broken(Broken::Run(errno.into())),
        }
    }

    /// Sets what the `CPUID` instruction shows.
    ///
    /// # Errors
    ///
    /// When KVM refuses.
    pub fn set_cpuid(&mut self, entries: &[kvm_cpuid_entry2]) -> Result<(), Error> {
        let cpuid = CpuId::from_entries(entries).map_err(|_| Error::Size {
            what: "CPUID",
            found: entries.len(),
            max: kvm_bindings::KVM_MAX_CPUID_ENTRIES,
        })?;
        self.fd
            .set_cpuid2(&cpuid)
            .map_err(Error::call("KVM_SET_CPUID2"))?;
        self.cpuid = entries.to_vec();
        Ok(())
    }

    /// Sets the general registers.
    ///
    /// # Errors
    ///
    /// When KVM refuses.
    pub fn set_regs(&self, regs: &kvm_regs) -> Result<(), Error> {
        self.fd.set_regs(regs).map_err(Error::call("KVM_SET_REGS"))
    }

    /// The general registers.
    ///
    /// # Errors
    ///
    /// When KVM refuses.
    pub fn regs(&self) -> Result<kvm_regs, Error> {
        self.fd.get_regs().map_err(Error::call("KVM_GET_REGS"))
    }

    /// The special registers of a fresh or running vCPU.
    ///
    /// # Errors
    ///
    /// When KVM refuses.
    pub fn sregs(&self) -> Result<kvm_sregs, Error> {
        self.fd.get_sregs().map_err(Error::call("KVM_GET_SREGS"))
    }

    /// Sets the special registers.
    ///
    /// # Errors
    ///
    /// When KVM refuses.
    pub fn set_sregs(&self, sregs: &kvm_sregs) -> Result<(), Error> {
        self.fd
            .set_sregs(sregs)
            .map_err(Error::call("KVM_SET_SREGS"))
    }

    /// Sets model-specific registers, in order.
    ///
    /// # Errors
    ///
    /// [`Error::Msr`] with the first one that KVM refuses.
    pub fn set_msrs(&self, entries: &[kvm_msr_entry]) -> Result<(), Error> {
        let msrs = Msrs::from_entries(entries).map_err(|_| Error::Size {
            what: "list of model-specific registers",
            found: entries.len(),
            max: kvm_bindings::KVM_MAX_MSR_ENTRIES,
        })?;
        let taken = self
            .fd
            .set_msrs(&msrs)
            .map_err(Error::call("KVM_SET_MSRS"))?;
        match entries.get(taken) {
            Some(refused) => Err(Error::Msr(refused.index)),
            None => Ok(()),
        }
    }

    /// Tells the guest that it was stopped, so that its watchdogs do not count the time.
    pub fn mark_stopped(&self) {
        // Refused before the guest has set up its paravirtual clock; then there is nothing to tell.
        let _ = self.fd.kvmclock_ctrl();
    }
}
