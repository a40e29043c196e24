//! The host bridge in slot 0: nothing but an identity, which a guest expects to find there.

use std::sync::Arc;

use super::config::{ConfigSpace, Identity};
use super::{BarWindow, FunctionState, PciError, PciFunction};

/// A virtual PCIe host bridge. Vendor 0x1b36 (Red Hat) has set 0x0008 aside for it.
const IDENTITY: Identity = Identity {
    vendor: 0x1b36,
    device: 0x0008,
    revision: 0,
    class: 0x06_0000,
    subsystem: 0x1100,
};

/// The function in slot 0.
#[derive(Debug)]
pub struct HostBridge {
    config: ConfigSpace,
}

impl HostBridge {
    /// A new bridge, or one as it was saved.
    ///
    /// # Errors
    /// [`PciError::BadState`] when the state is not a host bridge's.
    pub fn new(state: Option<&FunctionState>) -> Result<Self, PciError> {
        let mut config = ConfigSpace::new(IDENTITY);
        match state {
            None => {}
            Some(FunctionState::HostBridge(state)) => config.restore(state)?,
            Some(_) => return Err(PciError::BadState("not a host bridge")),
        }
        Ok(Self { config })
    }
}

impl PciFunction for HostBridge {
    fn config_read(&mut self, offset: u16, data: &mut [u8]) {
        self.config.read(offset, data);
    }

    fn config_write(&mut self, offset: u16, data: &[u8]) {
        self.config.write(offset, data);
    }

    fn bars(&self) -> Vec<Arc<BarWindow>> {
        Vec::new()
    }

    fn bar_read(&mut self, _bar: usize, _offset: u64, _data: &mut [u8]) {}

    fn bar_write(&mut self, _bar: usize, _offset: u64, _data: &[u8]) {}

    fn save(&self) -> FunctionState {
        FunctionState::HostBridge(self.config.save())
    }
}
