//! What is saved of a balloon.

use serde::{Deserialize, Serialize};

use crate::virtio::StateError;

const VERSION: u32 = 1;

/// Saved state of a balloon. Any two numbers are possible: both are only ever reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonState {
    version: u32,
    target: u32,
    actual: u32,
}

impl BalloonState {
    pub(super) fn new(target: u32, actual: u32) -> Self {
        Self {
            version: VERSION,
            target,
            actual,
        }
    }

    /// Target and actual pages.
    pub(super) fn validate(&self) -> Result<(u32, u32), StateError> {
        StateError::check_version(self.version, VERSION)?;
        Ok((self.target, self.actual))
    }
}
