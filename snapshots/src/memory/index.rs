//! The index of a memory file; drawn in the [parent module](super).

use super::header::{HEADER_BYTES, Header};
use super::{MemoryError, PAGE_BYTES};
use crate::bytes::Fields;

/// Bytes of an entry in the file.
pub(super) const ENTRY_BYTES: usize = 24;

/// What the index says of one chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Bit i: page i is in the frame.
    pub present: u64,
    pub frame_bytes: u32,
    pub frame_checksum: u32,
}

/// A checked entry, with the place of its frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub entry: Entry,
    /// Where the frame begins in the file.
    pub offset: u64,
}

impl Entry {
    /// Bytes of the pages in the frame.
    pub fn packed_bytes(&self) -> usize {
        self.present.count_ones() as usize * PAGE_BYTES
    }

    fn encode_to(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.present.to_le_bytes());
        bytes.extend(0u64.to_le_bytes()); // inherited
        bytes.extend(self.frame_bytes.to_le_bytes());
        bytes.extend(self.frame_checksum.to_le_bytes());
    }

    fn decode(bytes: &[u8], pages: usize) -> Result<Self, &'static str> {
        let fields = &mut Fields(bytes);
        let (entry, inherited) = Self::take(fields).ok_or("it is cut")?;
        let beyond = u64::MAX.checked_shl(pages as u32).unwrap_or(0);
        if inherited != 0 {
            return Err("it inherits pages, and the snapshot has no parent");
        }
        if entry.present & beyond != 0 {
            return Err("it has pages beyond the end of the chunk");
        }
        if entry.present == 0 && entry != Self::default() {
            return Err("it has a frame and no page");
        }
        if entry.present != 0 && entry.frame_bytes == 0 {
            return Err("it has pages and no frame");
        }
        if entry.frame_bytes as usize > zstd::zstd_safe::compress_bound(entry.packed_bytes()) {
            return Err("its frame is longer than its pages allow");
        }
        Ok(entry)
    }

    fn take(fields: &mut Fields<'_>) -> Option<(Self, u64)> {
        let (present, inherited) = (fields.u64()?, fields.u64()?);
        let (frame_bytes, frame_checksum) = (fields.u32()?, fields.u32()?);
        Some((
            Self {
                present,
                frame_bytes,
                frame_checksum,
            },
            inherited,
        ))
    }
}

/// The bytes of the index.
pub(super) fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for entry in entries {
        entry.encode_to(&mut bytes);
    }
    bytes
}

/// Checks the bytes of the index and finds the frames.
pub(super) fn decode(bytes: &[u8], header: &Header) -> Result<Vec<Slot>, MemoryError> {
    let mut slots = Vec::with_capacity(header.chunk_count());
    let mut offset = HEADER_BYTES as u64;
    for (chunk, bytes) in bytes.chunks(ENTRY_BYTES).enumerate() {
        let pages = header.chunk_len(chunk) / PAGE_BYTES;
        let entry =
            Entry::decode(bytes, pages).map_err(|problem| MemoryError::Index { chunk, problem })?;
        slots.push(Slot { entry, offset });
        // Cannot overflow: at most 2^18 entries of less than 2^19 bytes.
        offset += u64::from(entry.frame_bytes);
    }
    let frames_end = header.file_bytes - header.index_bytes() as u64;
    if offset != frames_end || slots.len() != header.chunk_count() {
        return Err(MemoryError::Index {
            chunk: slots.len(),
            problem: "the frames do not end where the index begins",
        });
    }
    Ok(slots)
}
