//! The one seam to KVM: nothing outside this folder makes a KVM call.
//!
//! - [`Host`]: `/dev/kvm` and what this host can do.
//! - [`Vm`]: one machine: memory slots, interrupts, notifications, its clock.
//! - [`Vcpu`]: one processor; running it yields an [`Exit`].
//! - [`restore_tscs`]: the one part of restoring that concerns all processors at once.
//! - [`stats`]: KVM's own counters.

mod exit;
mod host;
pub mod stats;
mod tsc;
mod vcpu;
mod vcpu_state;
mod vm;

pub use exit::Exit;
pub use host::Host;
pub use tsc::restore_tscs;
pub use vcpu::{Kick, Vcpu};
pub use vcpu_state::VcpuState;
pub use vm::{Vm, VmState};

/// What can go wrong between the vmm and KVM.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `/dev/kvm` cannot be opened.
    #[error("cannot open /dev/kvm")]
    Open(#[source] std::io::Error),
    /// KVM speaks another version of its interface.
    #[error("KVM API version {0} instead of 12")]
    ApiVersion(i32),
    /// KVM lacks something that the machine is built on.
    #[error("KVM lacks the capability {0}")]
    Capability(&'static str),
    /// A call failed.
    #[error("KVM call {call} failed")]
    Call {
        /// The call's name.
        call: &'static str,
        /// What the kernel answered.
        #[source]
        source: std::io::Error,
    },
    /// KVM took fewer model-specific registers than it was given.
    #[error("KVM refused model-specific register {0:#x}")]
    Msr(u32),
    /// Saved state has a size that KVM does not know.
    #[error("saved {what} has {found} bytes, this host takes at most {max}")]
    Size {
        /// Which part of the state.
        what: &'static str,
        /// Its size in the snapshot.
        found: usize,
        /// The most that fits.
        max: usize,
    },
    /// The guest's time stamp counter cannot be kept at its frequency.
    #[error("the guest's TSC runs at {guest} kHz, this host's at {host} kHz and it cannot scale")]
    TscFrequency {
        /// The saved machine's frequency.
        guest: u32,
        /// This host's.
        host: u32,
    },
}

impl Error {
    /// Names the call that an errno belongs to.
    fn call(call: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Error {
        move |errno| Error::Call {
            call,
            source: errno.into(),
        }
    }
}
