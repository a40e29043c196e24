//! The entropy device keeps nothing: what it gave before a snapshot says nothing of what it
//! gives after.

use serde::{Deserialize, Serialize};

use crate::virtio::StateError;

const VERSION: u32 = 1;

/// Saved state of the entropy device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RngState {
    version: u32,
}

impl RngState {
    pub(super) fn new() -> Self {
        Self { version: VERSION }
    }

    pub(super) fn validate(&self) -> Result<(), StateError> {
        StateError::check_version(self.version, VERSION)
    }
}
