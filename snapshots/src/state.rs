//! A checked frame around the device and vCPU state that the vmm encodes.

use std::fs::File;
use std::io;

/// The longest state, in bytes.
pub const MAX_STATE_BYTES: usize = 4 << 20;

/// Why a state could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file could not be read or written.
    #[error("cannot access the state file")]
    Io(#[source] io::Error),
}

/// Writes `payload` with its frame to the beginning of `file`, an empty file.
pub fn write_state(_file: &File, _payload: &[u8]) -> Result<(), StateError> {
    unimplemented!()
}

/// Reads the payload that [`write_state`] wrote. Allocates only what the frame's checked length says.
pub fn read_state(_file: &File) -> Result<Vec<u8>, StateError> {
    unimplemented!()
}
