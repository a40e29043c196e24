//! What is saved of the socket device: its address. Connections are not; they end with the
//! machine that had them, and a restored guest is told so.

use serde::{Deserialize, Serialize};

use crate::virtio::StateError;

const VERSION: u32 = 1;

/// Saved state of the socket device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VsockState {
    version: u32,
    guest_cid: u64,
    next_port: u32,
}

impl VsockState {
    pub(super) fn new(guest_cid: u64, next_port: u32) -> Self {
        Self {
            version: VERSION,
            guest_cid,
            next_port,
        }
    }

    /// A guest keeps the address that it had: its listeners may be bound to it. Returns the port
    /// to go on from.
    pub(super) fn validate(&self, guest_cid: u64) -> Result<u32, StateError> {
        StateError::check_version(self.version, VERSION)?;
        if self.guest_cid != guest_cid {
            return Err(StateError::Mismatch("guest has another CID"));
        }
        Ok(self.next_port)
    }
}
