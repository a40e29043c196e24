//! What is saved of a card: its address. Frames on their way are lost, as on any network, and what it is on is not the
//! guest's to know.

use serde::{Deserialize, Serialize};

use super::config::Mac;
use crate::virtio::StateError;

const VERSION: u32 = 1;

/// Saved state of a network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetState {
    version: u32,
    mac: Mac,
}

impl NetState {
    pub(super) fn new(mac: Mac) -> Self {
        Self {
            version: VERSION,
            mac,
        }
    }

    pub(super) fn validate(&self, mac: Mac) -> Result<(), StateError> {
        StateError::check_version(self.version, VERSION)?;
        if self.mac != mac {
            return Err(StateError::Mismatch("network card has another address"));
        }
        Ok(())
    }
}
