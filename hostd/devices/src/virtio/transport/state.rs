//! What is saved of a virtio function, and how it is taken over.

use serde::{Deserialize, Serialize};

use super::registers::Registers;
use super::{TransportError, VirtioDevice, VirtioPci};
use crate::event_loop::lock;
use crate::pci::config::ConfigState;
use crate::pci::msix::MsixState;
use crate::virtio::{ActiveQueue, DeviceState, StateError};

/// Version of [`VirtioPciState`]; raised when its fields change their meaning.
const VERSION: u32 = 1;

/// A virtio device with its transport, as it was when its machine was quiet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioPciState {
    version: u32,
    config: ConfigState,
    msix: MsixState,
    registers: Registers,
    /// Next available and next used index of each queue that was in use.
    queues: Vec<Option<(u16, u16)>>,
    device: DeviceState,
}

impl<D: VirtioDevice> VirtioPci<D> {
    /// The state of the function; everything but what the host has to provide anew.
    pub(super) fn state(&self) -> VirtioPciState {
        let progress = |queue: &Option<ActiveQueue>| queue.as_ref().map(ActiveQueue::progress);
        VirtioPciState {
            version: VERSION,
            config: self.config.save(),
            msix: lock(&self.msix).save(),
            registers: self.registers.clone(),
            queues: self.queues.iter().map(progress).collect(),
            device: self.device.save(),
        }
    }

    /// Takes over a state, into a function that is new.
    pub(super) fn restore(&mut self, state: &VirtioPciState) -> Result<(), TransportError> {
        StateError::check_version(state.version, VERSION)?;
        self.device.restore(&state.device)?;
        self.config.restore(&state.config)?;
        self.registers.restore(&state.registers)?;
        lock(&self.msix).restore(&state.msix)?;
        if !self.registers.is_active() {
            return Ok(());
        }
        let progress = |index: usize| state.queues.get(index).copied().flatten().unwrap_or((0, 0));
        self.queues = self.build_queues(progress)?;
        let present = self.queues.iter().map(Option::is_some);
        if !present.eq(state.queues.iter().map(Option::is_some)) {
            return Err(TransportError::BadState("queues in use differ"));
        }
        Ok(())
    }
}
