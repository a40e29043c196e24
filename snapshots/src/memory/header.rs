//! The header of a memory file; drawn in the [parent module](super).

use super::{
    MAX_CHUNK_BYTES, MAX_MEMORY_BYTES, MIN_CHUNK_BYTES, MemoryError, PAGE_BYTES, index::ENTRY_BYTES,
};
use crate::Digest;
use crate::bytes::Fields;

pub(super) const MAGIC: [u8; 8] = *b"thaw-mem";
pub(super) const VERSION: u32 = 1;
/// Bytes of the header; frames begin here.
pub(super) const HEADER_BYTES: usize = 112;
/// The header but for its own checksum.
const CHECKED_BYTES: usize = HEADER_BYTES - 4;

/// What a valid header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub chunk_bytes: usize,
    pub memory_bytes: u64,
    pub file_bytes: u64,
    pub index_digest: Digest,
}

impl Header {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(0u32.to_le_bytes()); // flags
        bytes.extend((PAGE_BYTES as u32).to_le_bytes());
        bytes.extend((self.chunk_bytes as u32).to_le_bytes());
        bytes.extend(self.memory_bytes.to_le_bytes());
        bytes.extend(self.file_bytes.to_le_bytes());
        bytes.extend(self.index_digest.as_bytes());
        bytes.extend([0; 32]); // parent
        bytes.extend([0; 4]); // reserved
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Magic and version come first, so that a file of a later version is named as such whatever
    /// else has changed.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, MemoryError> {
        let (checked, stored) = bytes.split_at(CHECKED_BYTES);
        let raw = Raw::take(&mut Fields(checked)).ok_or(MemoryError::TooShort {
            found: checked.len() as u64,
        })?;
        if raw.magic != MAGIC {
            return Err(MemoryError::Magic { found: raw.magic });
        }
        if raw.version != VERSION {
            return Err(MemoryError::Version { found: raw.version });
        }
        let stored = Fields(stored).u32().unwrap_or_default();
        let computed = crc32c::crc32c(checked);
        if stored != computed {
            return Err(MemoryError::HeaderChecksum { stored, computed });
        }
        raw.validate()
    }

    /// How many chunks the memory has.
    pub fn chunk_count(&self) -> usize {
        self.memory_bytes.div_ceil(self.chunk_bytes as u64) as usize
    }

    /// Bytes of the index.
    pub fn index_bytes(&self) -> usize {
        self.chunk_count() * ENTRY_BYTES
    }

    /// Bytes of one chunk: only the last one may be short.
    pub fn chunk_len(&self, chunk: usize) -> usize {
        let start = (chunk as u64).saturating_mul(self.chunk_bytes as u64);
        let rest = self.memory_bytes.saturating_sub(start);
        rest.min(self.chunk_bytes as u64) as usize
    }
}

/// The fields as they are in the file.
struct Raw {
    magic: [u8; 8],
    version: u32,
    flags: u32,
    page_bytes: u32,
    chunk_bytes: u32,
    memory_bytes: u64,
    file_bytes: u64,
    index_digest: [u8; 32],
    parent: [u8; 32],
    reserved: u32,
}

impl Raw {
    fn take(fields: &mut Fields<'_>) -> Option<Self> {
        Some(Self {
            magic: fields.array()?,
            version: fields.u32()?,
            flags: fields.u32()?,
            page_bytes: fields.u32()?,
            chunk_bytes: fields.u32()?,
            memory_bytes: fields.u64()?,
            file_bytes: fields.u64()?,
            index_digest: fields.array()?,
            parent: fields.array()?,
            reserved: fields.u32()?,
        })
    }

    fn validate(self) -> Result<Header, MemoryError> {
        let chunk_bytes = self.chunk_bytes as usize;
        let allowed = MIN_CHUNK_BYTES..=MAX_CHUNK_BYTES;
        let parent = Fields(&self.parent).u64().unwrap_or_default();
        let checks = [
            ("flags", self.flags.into(), self.flags == 0),
            (
                "page_bytes",
                self.page_bytes.into(),
                self.page_bytes as usize == PAGE_BYTES,
            ),
            (
                "chunk_bytes",
                self.chunk_bytes.into(),
                chunk_bytes.is_power_of_two() && allowed.contains(&chunk_bytes),
            ),
            (
                "memory_bytes",
                self.memory_bytes,
                is_memory_bytes(self.memory_bytes),
            ),
            ("parent", parent, self.parent == [0; 32]),
            ("reserved", self.reserved.into(), self.reserved == 0),
        ];
        if let Some((field, value, _)) = checks.into_iter().find(|(.., good)| !good) {
            return Err(MemoryError::Header { field, value });
        }
        let header = Header {
            chunk_bytes,
            memory_bytes: self.memory_bytes,
            file_bytes: self.file_bytes,
            index_digest: self.index_digest.into(),
        };
        if self.file_bytes < (HEADER_BYTES + header.index_bytes()) as u64 {
            return Err(MemoryError::Header {
                field: "file_bytes",
                value: self.file_bytes,
            });
        }
        Ok(header)
    }
}

/// Whether the format can hold so much memory.
pub(super) fn is_memory_bytes(bytes: u64) -> bool {
    (1..=MAX_MEMORY_BYTES).contains(&bytes) && bytes.is_multiple_of(PAGE_BYTES as u64)
}
