//! A checked frame around the device and vCPU state that the vmm encodes.
//!
//! ```text
//!  0  8  magic "thaw-sta"
//!  8  4  version, 1
//! 12  4  payload's length, at most MAX_STATE_BYTES
//! 16 32  BLAKE3 of bytes 0..16 and the payload
//! 48  …  payload, to the end of the file
//! ```
//!
//! Numbers are little-endian. What the payload means is the vmm's business; here it is bytes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::Digest;
use crate::bytes::Fields;

/// The longest payload, in bytes: eight vCPUs and a dozen devices need some tens of KiB.
pub const MAX_STATE_BYTES: usize = 4 << 20;

const MAGIC: [u8; 8] = *b"thaw-sta";
const VERSION: u32 = 1;
/// Bytes before the digest, which covers them.
const CHECKED_BYTES: usize = 16;
/// Bytes before the payload.
const HEADER_BYTES: usize = CHECKED_BYTES + 32;

/// Why a state could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file could not be read or written.
    #[error("cannot access the state file")]
    Io(#[source] io::Error),
    /// The file to write already holds something.
    #[error("the state file is not empty: {found} bytes")]
    NotEmpty {
        /// Bytes of the file.
        found: u64,
    },
    /// Shorter than its header.
    #[error("a state file of {found} bytes is shorter than its header")]
    TooShort {
        /// Bytes of the file.
        found: u64,
    },
    /// Longer than any state.
    #[error("a state of {found} bytes exceeds {MAX_STATE_BYTES}")]
    TooLong {
        /// Bytes of the payload.
        found: u64,
    },
    /// Not a state file.
    #[error("not a state file: it begins with {found:02x?}")]
    Magic {
        /// Its first bytes.
        found: [u8; 8],
    },
    /// Another version of Thaw wrote it.
    #[error("state format {found}; this Thaw reads format {VERSION}")]
    Version {
        /// The version that the file names.
        found: u32,
    },
    /// The file was cut, or something was appended.
    #[error("a state of {expected} bytes has {found}")]
    Length {
        /// What the header says.
        expected: u64,
        /// What follows the header.
        found: u64,
    },
    /// The bytes are damaged.
    #[error("the state does not have the digest in its header")]
    Digest,
}

/// Writes `payload` with its frame to `file`, which must be empty. Not synced: committing the
/// snapshot does that.
pub fn write_state(file: &File, payload: &[u8]) -> Result<(), StateError> {
    let found = file.metadata().map_err(StateError::Io)?.len();
    if found != 0 {
        return Err(StateError::NotEmpty { found });
    }
    if payload.len() > MAX_STATE_BYTES {
        return Err(StateError::TooLong {
            found: payload.len() as u64,
        });
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + payload.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((payload.len() as u32).to_le_bytes());
    let digest = digest(&bytes, payload);
    bytes.extend(digest.as_bytes());
    bytes.extend(payload);
    file.write_all_at(&bytes, 0).map_err(StateError::Io)
}

/// Reads the payload that [`write_state`] wrote. The file's offset stays where it is.
pub fn read_state(file: &File) -> Result<Vec<u8>, StateError> {
    let file_bytes = file.metadata().map_err(StateError::Io)?.len();
    let found = file_bytes
        .checked_sub(HEADER_BYTES as u64)
        .ok_or(StateError::TooShort { found: file_bytes })?;
    if found > MAX_STATE_BYTES as u64 {
        return Err(StateError::TooLong { found });
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0).map_err(StateError::Io)?;
    let mut payload = vec![0; found as usize];
    file.read_exact_at(&mut payload, HEADER_BYTES as u64)
        .map_err(StateError::Io)?;
    check(&header, &payload)?;
    Ok(payload)
}

fn check(header: &[u8; HEADER_BYTES], payload: &[u8]) -> Result<(), StateError> {
    let (checked, stored) = header.split_at(CHECKED_BYTES);
    let fields = &mut Fields(checked);
    let magic = fields.array().unwrap_or_default();
    if magic != MAGIC {
        return Err(StateError::Magic { found: magic });
    }
    let version = fields.u32().unwrap_or_default();
    if version != VERSION {
        return Err(StateError::Version { found: version });
    }
    let expected = fields.u32().unwrap_or_default().into();
    let found = payload.len() as u64;
    if expected != found {
        return Err(StateError::Length { expected, found });
    }
    if digest(checked, payload).as_bytes() != stored {
        return Err(StateError::Digest);
    }
    Ok(())
}

fn digest(header: &[u8], payload: &[u8]) -> Digest {
    blake3::Hasher::new()
        .update(header)
        .update(payload)
        .finalize()
        .into()
}
