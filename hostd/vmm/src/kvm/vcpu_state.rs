//! Saving and restoring one processor.
#![expect(
    unsafe_code,
    reason = "the extended state has a size that only KVM knows"
)]

use kvm_bindings::{
    Msrs, Xsave, kvm_cpuid_entry2, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry,
    kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use serde::{Deserialize, Serialize};

use super::tsc::IA32_TSC;
use super::{Error, Vcpu};

/// More extended state than any processor has; a snapshot that claims more is damaged.
const MAX_XSAVE_BYTES: usize = 64 << 10;

/// One processor's state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VcpuState {
    cpuid: Vec<kvm_cpuid_entry2>,
    mp_state: kvm_mp_state,
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: Vec<u32>,
    xcrs: kvm_xcrs,
    debug_regs: kvm_debugregs,
    lapic: kvm_lapic_state,
    msrs: Vec<kvm_msr_entry>,
    events: kvm_vcpu_events,
    /// Frequency of the guest's time stamp counter.
    tsc_khz: u32,
}

impl VcpuState {
    /// What the guest was shown of its processor.
    pub fn cpuid(&self) -> &[kvm_cpuid_entry2] {
        &self.cpuid
    }

    /// Frequency of its time stamp counter.
    pub(super) fn tsc_khz(&self) -> u32 {
        self.tsc_khz
    }

    /// Its time stamp counter when it was saved.
    pub(super) fn tsc(&self) -> Option<u64> {
        let entry = self.msrs.iter().find(|entry| entry.index == IA32_TSC);
        entry.map(|entry| entry.data)
    }
}

impl Vcpu {
    /// Saves the processor, which must be paused with nothing pending.
    ///
    /// `msr_indices` are those of [`super::Host::msr_indices`].
    ///
    /// # Errors
    ///
    /// When a call fails.
    pub fn save(&self, msr_indices: &[u32]) -> Result<VcpuState, Error> {
        let fd = &self.fd;
        // The order is KVM's: reading the run state first settles pending INIT and SIPI events.
        Ok(VcpuState {
            mp_state: fd.get_mp_state().map_err(Error::call("KVM_GET_MP_STATE"))?,
            cpuid: self.cpuid.clone(),
            regs: fd.get_regs().map_err(Error::call("KVM_GET_REGS"))?,
            sregs: self.sregs()?,
            xsave: self.xsave()?,
            xcrs: fd.get_xcrs().map_err(Error::call("KVM_GET_XCRS"))?,
            debug_regs: fd
                .get_debug_regs()
                .map_err(Error::call("KVM_GET_DEBUGREGS"))?,
            lapic: fd.get_lapic().map_err(Error::call("KVM_GET_LAPIC"))?,
            msrs: self.readable_msrs(msr_indices)?,
            events: fd
                .get_vcpu_events()
                .map_err(Error::call("KVM_GET_VCPU_EVENTS"))?,
            tsc_khz: fd.get_tsc_khz().map_err(Error::call("KVM_GET_TSC_KHZ"))?,
        })
    }

    /// The inverse of [`Vcpu::save`], on a processor that has never run and whose time stamp counter
    /// has been [restored](super::restore_tscs): the deadline of its timer is a value of that.
    ///
    /// # Errors
    ///
    /// When KVM does not take the state.
    pub fn restore(&mut self, state: &VcpuState) -> Result<(), Error> {
        self.set_cpuid(&state.cpuid)?;
        let fd = &self.fd;
        fd.set_mp_state(state.mp_state)
            .map_err(Error::call("KVM_SET_MP_STATE"))?;
        self.set_regs(&state.regs)?;
        self.set_sregs(&state.sregs)?;
        self.set_xsave(&state.xsave)?;
        fd.set_xcrs(&state.xcrs)
            .map_err(Error::call("KVM_SET_XCRS"))?;
        fd.set_debug_regs(&state.debug_regs)
            .map_err(Error::call("KVM_SET_DEBUGREGS"))?;
        fd.set_lapic(&state.lapic)
            .map_err(Error::call("KVM_SET_LAPIC"))?;
        // After the LAPIC: the TSC deadline is ignored unless its timer is in that mode already.
        let msrs = state.msrs.iter().filter(|entry| entry.index != IA32_TSC);
        self.set_msrs(&msrs.copied().collect::<Vec<_>>())?;
        // Last: setting the special registers and the LAPIC disturbs pending events.
        fd.set_vcpu_events(&state.events)
            .map_err(Error::call("KVM_SET_VCPU_EVENTS"))
    }

    /// Reads what can be read of the listed registers: KVM lists some that this guest does not have.
    fn readable_msrs(&self, indices: &[u32]) -> Result<Vec<kvm_msr_entry>, Error> {
        let mut saved = Vec::with_capacity(indices.len());
        let mut rest = indices;
        while !rest.is_empty() {
            let asked: Vec<_> = rest
                .iter()
                .map(|&index| kvm_msr_entry {
                    index,
                    ..Default::default()
                })
                .collect();
            let mut msrs = Msrs::from_entries(&asked).map_err(|_| Error::Size {
                what: "list of model-specific registers",
                found: asked.len(),
                max: kvm_bindings::KVM_MAX_MSR_ENTRIES,
            })?;
            let read = self
                .fd
                .get_msrs(&mut msrs)
                .map_err(Error::call("KVM_GET_MSRS"))?;
            saved.extend(msrs.as_slice().iter().take(read));
            // KVM stops at the first that it cannot read.
            rest = rest.get(read + 1..).unwrap_or_default();
        }
        Ok(saved)
    }

    fn xsave(&self) -> Result<Vec<u32>, Error> {
        let mut buffer = self.xsave_buffer()?;
        // SAFETY: the buffer has the size that KVM_CAP_XSAVE2 gave, and the vmm never enables
        // further features.
        unsafe { self.fd.get_xsave2(&mut buffer) }.map_err(Error::call("KVM_GET_XSAVE2"))?;
        let mut words = buffer.as_fam_struct_ref().xsave.region.to_vec();
        words.extend_from_slice(buffer.as_slice());
        Ok(words)
    }

    fn set_xsave(&self, words: &[u32]) -> Result<(), Error> {
        let mut buffer = self.xsave_buffer()?;
        let region_words = size_of::<kvm_xsave>() / size_of::<u32>();
        let extra = words.get(region_words..).unwrap_or_default();
        if words.len() < region_words || extra.len() > buffer.as_slice().len() {
            return Err(Error::Size {
                what: "extended state",
                found: size_of_val(words),
                max: self.xsave_size,
            });
        }
        // SAFETY: only the contents of the fixed part change, not the length of the array after it.
        let region = unsafe { &mut buffer.as_mut_fam_struct().xsave.region };
        for (to, from) in region.iter_mut().zip(words) {
            *to = *from;
        }
        for (to, from) in buffer.as_mut_slice().iter_mut().zip(extra) {
            *to = *from;
        }
        // SAFETY: the buffer has the size that KVM_CAP_XSAVE2 gave.
        unsafe { self.fd.set_xsave2(&buffer) }.map_err(Error::call("KVM_SET_XSAVE"))
    }

    /// A zeroed buffer of the size that this host's KVM reads and writes.
    fn xsave_buffer(&self) -> Result<Xsave, Error> {
        let too_large = |_| Error::Size {
            what: "extended state",
            found: self.xsave_size,
            max: MAX_XSAVE_BYTES,
        };
        let extra = self.xsave_size.saturating_sub(size_of::<kvm_xsave>());
        Xsave::new(extra.div_ceil(size_of::<u32>())).map_err(too_large)
    }
}
