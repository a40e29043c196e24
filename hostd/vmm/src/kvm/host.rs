//! `/dev/kvm` and what this host can do.

use kvm_bindings::{CpuId, KVM_API_VERSION, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::{Cap, Kvm};

use super::{Error, Vm};

/// What the machine is built on.
const REQUIRED: [(Cap, &str); 14] = [
    (Cap::UserMemory, "USER_MEMORY"),
    (Cap::Irqchip, "IRQCHIP"),
    (Cap::Irqfd, "IRQFD"),
    (Cap::Ioeventfd, "IOEVENTFD"),
    (Cap::ImmediateExit, "IMMEDIATE_EXIT"),
    (Cap::SetTssAddr, "SET_TSS_ADDR"),
    (Cap::ExtCpuid, "EXT_CPUID"),
    (Cap::SignalMsi, "SIGNAL_MSI"),
    (Cap::AdjustClock, "ADJUST_CLOCK"),
    (Cap::MpState, "MP_STATE"),
    (Cap::VcpuEvents, "VCPU_EVENTS"),
    (Cap::Debugregs, "DEBUGREGS"),
    (Cap::Xsave, "XSAVE"),
    (Cap::Xcrs, "XCRS"),
];

/// An open `/dev/kvm`.
#[derive(Debug)]
pub struct Host {
    kvm: Kvm,
}

impl Host {
    /// Opens `/dev/kvm` and checks that it has what the machine is built on.
    ///
    /// # Errors
    ///
    /// [`Error::Open`], [`Error::ApiVersion`] or [`Error::Capability`].
    pub fn open() -> Result<Self, Error> {
        let host = Self::open_unchecked()?;
        for (capability, name) in REQUIRED {
            if !host.kvm.check_extension(capability) {
                return Err(Error::Capability(name));
            }
        }
        Ok(host)
    }

    /// Opens `/dev/kvm` whatever it can do: for the probe, which wants to say what is missing.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] or [`Error::ApiVersion`].
    pub fn open_unchecked() -> Result<Self, Error> {
        let kvm = Kvm::new().map_err(|errno| Error::Open(errno.into()))?;
        let version = kvm.get_api_version();
        if u32::try_from(version) != Ok(KVM_API_VERSION) {
            return Err(Error::ApiVersion(version));
        }
        Ok(Self { kvm })
    }

    /// The names of required capabilities that are missing.
    pub fn missing(&self) -> Vec<&'static str> {
        REQUIRED
            .iter()
            .filter(|(capability, _)| !self.kvm.check_extension(*capability))
            .map(|(_, name)| *name)
            .collect()
    }

    /// What KVM can show a guest of this host's processor.
    ///
    /// # Errors
    ///
    /// When the call fails.
    pub fn supported_cpuid(&self) -> Result<CpuId, Error> {
        self.kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(Error::call("KVM_GET_SUPPORTED_CPUID"))
    }

    /// The model-specific registers that make up a vCPU's state here.
    ///
    /// # Errors
    ///
    /// When the call fails.
    pub fn msr_indices(&self) -> Result<Vec<u32>, Error> {
        let list = self
            .kvm
            .get_msr_index_list()
            .map_err(Error::call("KVM_GET_MSR_INDEX_LIST"))?;
        Ok(list.as_slice().to_vec())
    }

    /// Makes an empty machine.
    ///
    /// # Errors
    ///
    /// When the call fails.
    pub fn create_vm(&self) -> Result<Vm, Error> {
        let fd = self.kvm.create_vm().map_err(Error::call("KVM_CREATE_VM"))?;
        Ok(Vm::new(fd))
    }
}
