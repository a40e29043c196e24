//! From the vmm's errors to the protocol's kinds.

use std::error::Error;

use protocol::vmm::v1 as wire;
use wire::failure::Kind;

use crate::boot;
use crate::config::ConfigError;
use crate::machine::MachineError;
use crate::machine::devices::DeviceError;
use crate::machine::memory::MemoryError;

/// Why a request was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The packet was no request, or one without content.
    #[error("not a request: {0}")]
    Garbage(String),
    /// The description of the machine is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The machine is not in the state that the request needs.
    #[error("{request} needs {needs}")]
    WrongState {
        /// The request.
        request: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// The host's kernel said no.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The machine could not be built, saved or changed.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

/// A refusal of the host's kernel that has nothing to do with KVM.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}")]
pub struct HostError {
    /// What was tried.
    pub action: &'static str,
    /// What the kernel said.
    #[source]
    pub source: std::io::Error,
}

impl HostError {
    /// No vCPU thread could be had.
    pub fn threads(source: std::io::Error) -> Self {
        Self {
            action: "start a vCPU thread",
            source,
        }
    }
}

impl RequestError {
    /// The failure as the protocol says it.
    pub fn to_wire(&self) -> wire::Failure {
        wire::Failure {
            kind: self.kind().into(),
            message: chain(self),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Garbage(_) | Self::Config(_) => Kind::InvalidConfig,
            Self::WrongState { .. } => Kind::WrongState,
            Self::Host(_) => Kind::Host,
            Self::Machine(error) => machine_kind(error),
        }
    }
}

fn machine_kind(error: &MachineError) -> Kind {
    match error {
        MachineError::Boot(boot::Error::Kvm(_)) => Kind::Host,
        MachineError::Boot(_) | MachineError::BalloonSize { .. } | MachineError::NoNet => {
            Kind::InvalidConfig
        }
        MachineError::Memory(MemoryError::TemplateSize { .. })
        | MachineError::State(_)
        | MachineError::StateRefused(_) => Kind::InvalidSnapshot,
        MachineError::Cpu(_) => Kind::IncompatibleCpu,
        MachineError::Device(error) => device_kind(error),
        _ => Kind::Host,
    }
}

fn device_kind(error: &DeviceError) -> Kind {
    match error {
        DeviceError::Disk { .. } => Kind::InvalidConfig,
        DeviceError::Host { .. } | DeviceError::Kvm(_) => Kind::Host,
        // A new device has no state that could be wrong.
        DeviceError::Pci(_)
        | DeviceError::Virtio { .. }
        | DeviceError::Serial(_)
        | DeviceError::Functions { .. } => Kind::InvalidSnapshot,
    }
}

/// An error and all its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // A transparent error repeats its source.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
