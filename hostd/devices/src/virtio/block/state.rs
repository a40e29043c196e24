//! What is saved of a disk: nothing that its file does not say, but enough to notice that it is
//! not the same disk.

use serde::{Deserialize, Serialize};

use crate::virtio::StateError;

const VERSION: u32 = 1;

/// Saved state of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockState {
    version: u32,
    sectors: u64,
    read_only: bool,
}

impl BlockState {
    pub(super) fn new(sectors: u64, read_only: bool) -> Self {
        Self {
            version: VERSION,
            sectors,
            read_only,
        }
    }

    pub(super) fn validate(&self, sectors: u64, read_only: bool) -> Result<(), StateError> {
        StateError::check_version(self.version, VERSION)?;
        if self.sectors != sectors {
            return Err(StateError::Mismatch("disk has another size"));
        }
        if self.read_only != read_only {
            return Err(StateError::Mismatch("disk was writable or is"));
        }
        Ok(())
    }
}
