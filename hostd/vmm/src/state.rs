//! What a saved machine is, apart from its memory and disks.
//!
//! ```text
//!   frame of snapshots::state: magic, version, length, checksum
//!   └─ postcard: version u32 | MachineState
//! ```
//!
//! Reading checks the version before anything else is decoded; what the parts mean is checked by
//! those who take them over, each with its own error.

use std::fs::File;

use serde::{Deserialize, Serialize};
use snapshots::state::{StateError as FrameError, read_state, write_state};

use crate::config::Shape;
use crate::kvm::{VcpuState, VmState};
use crate::machine::devices::DevicesState;

/// Version of [`MachineState`]: changes whenever a part of it does.
const VERSION: u32 = 2;

/// Why a saved state could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file or its frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The contents are no state.
    #[error("cannot decode the state")]
    Decode(#[source] postcard::Error),
    /// The contents cannot be encoded.
    #[error("cannot encode the state")]
    Encode(#[source] postcard::Error),
    /// The contents are of another version.
    #[error("state has version {0}, this vmm reads {VERSION}")]
    Version(u32),
    /// There is more after the state.
    #[error("{0} bytes after the state")]
    Trailing(usize),
    /// The state is one of another machine.
    #[error("the snapshot is of another machine: {saved:?} instead of {asked:?}")]
    Shape {
        /// The saved machine.
        saved: Box<Shape>,
        /// The machine that was asked for.
        asked: Box<Shape>,
    },
    /// The number of vCPUs contradicts the shape.
    #[error("the snapshot has states of {0} vCPUs")]
    Vcpus(usize),
}

/// A saved machine.
#[derive(Debug, Serialize, Deserialize)]
pub struct MachineState {
    /// What the guest saw.
    pub shape: Shape,
    /// What KVM held of it.
    pub vm: VmState,
    /// Its processors, in order.
    pub vcpus: Vec<VcpuState>,
    /// Its devices.
    pub devices: DevicesState,
}

impl MachineState {
    /// Writes the state to an empty file.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn write(&self, file: &File) -> Result<(), StateError> {
        let bytes = postcard::to_stdvec(&(VERSION, self)).map_err(StateError::Encode)?;
        Ok(write_state(file, &bytes)?)
    }

    /// Reads the state of a machine of this shape.
    ///
    /// # Errors
    ///
    /// When the file is damaged or of another machine.
    pub fn read(file: &File, asked: &Shape) -> Result<Self, StateError> {
        let state = Self::decode(&read_state(file)?)?;
        if state.shape != *asked {
            return Err(StateError::Shape {
                saved: Box::new(state.shape),
                asked: Box::new(asked.clone()),
            });
        }
        if state.vcpus.len() != usize::from(asked.vcpus) {
            return Err(StateError::Vcpus(state.vcpus.len()));
        }
        Ok(state)
    }

    fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let (version, rest) = postcard::take_from_bytes(bytes).map_err(StateError::Decode)?;
        if version != VERSION {
            return Err(StateError::Version(version));
        }
        let (state, rest) = postcard::take_from_bytes(rest).map_err(StateError::Decode)?;
        if !rest.is_empty() {
            return Err(StateError::Trailing(rest.len()));
        }
        Ok(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_an_error() {
        assert!(matches!(
            MachineState::decode(&[]),
            Err(StateError::Decode(_))
        ));
        assert!(matches!(
            MachineState::decode(&[1, 0, 0]),
            Err(StateError::Version(1))
        ));
        for length in 0..64 {
            let mut bytes = vec![0xff; length];
            bytes.insert(0, VERSION as u8);
            assert!(MachineState::decode(&bytes).is_err());
        }
    }
}
