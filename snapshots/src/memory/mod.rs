//! Guest memory on disk: any page can be had without reading the rest.
//!
//! ```text
//!          0 ┌──────────────────────────────────────────────┐
//!            │ header, 112 bytes                            │ written last
//!        112 ├──────────────────────────────────────────────┤
//!            │ frame of the first chunk that has any page   │ zstd, back to back,
//!            │ frame of the next one                        │ in the order of the chunks
//!            │ …                                            │
//! file_bytes ├──────────────────────────────────────────────┤
//!   - 24 × n │ index: n entries of 24 bytes, one per chunk  │
//! file_bytes └──────────────────────────────────────────────┘
//!
//! header                                  index entry
//!   0  8  magic "thaw-mem"                  0  8  present: bit i set = page i is in the frame
//!   8  4  version, 1                        8  8  inherited: bit i set = page i is the parent's
//!  12  4  flags, 0                         16  4  frame_bytes, 0 = no page present, no frame
//!  16  4  page_bytes, 4096                 20  4  CRC-32C of the frame, 0 without one
//!  20  4  chunk_bytes
//!  24  8  memory_bytes                    frame
//!  32  8  file_bytes                        one zstd frame of exactly the present pages,
//!  40 32  BLAKE3 of the index               in ascending order, packed
//!  72 32  parent's fingerprint, 0
//! 104  4  reserved, 0
//! 108  4  CRC-32C of bytes 0..108
//! ```
//!
//! All numbers are little-endian. Guest memory is the guest's regions one after another, without
//! the gaps between them, and is cut into chunks of `chunk_bytes`; the last one may be shorter.
//! A page that neither is present nor inherited is zero.
//!
//! **Caps.** `memory_bytes` ≤ [`MAX_MEMORY_BYTES`]; `chunk_bytes` is a power of two within
//! [`MIN_CHUNK_BYTES`]..=[`MAX_CHUNK_BYTES`], so that 64 bits hold a chunk's pages; a frame is at
//! most zstd's bound for its pages. No allocation is larger than the index, which those numbers cap
//! at 6 MiB.
//!
//! **Every byte is covered.** The header by its own CRC, the index by the header's digest, each
//! frame by its entry's CRC. Offsets are not stored but summed up, so frames can neither overlap
//! nor leave a gap, and the sum has to end where the index begins. A file that is cut anywhere has
//! another length than its header says. A writer that died has left no header.
//!
//! **Diffs.** A snapshot that holds only what its parent lacks will set a flag, name the parent's
//! [fingerprint](MemoryReader::fingerprint) and use `inherited`. This version refuses all three.

mod error;
mod header;
mod index;
mod pack;
mod pages;
mod parallel;
mod reader;
mod sequencer;
mod source;
mod writer;

pub use error::{MemoryError, WriteError};
pub use pages::Pages;
pub use reader::{ChunkReader, MemoryReader};
pub use source::MemorySource;
pub use writer::{DEFAULT_LEVEL, Summary, WriteOptions, write_memory};

/// Bytes of a page, the unit of the zero test.
pub const PAGE_BYTES: usize = 4096;
/// The largest guest memory, in bytes: the largest machine.
pub const MAX_MEMORY_BYTES: u64 = 16 << 30;
/// The smallest chunk that the format allows, in bytes.
pub const MIN_CHUNK_BYTES: usize = 64 << 10;
/// The largest chunk that the format allows, in bytes: 64 pages.
pub const MAX_CHUNK_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests;
