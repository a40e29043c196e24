//! What can be wrong with a memory file.

use std::io;

use super::header::VERSION;
use super::{MAX_MEMORY_BYTES, PAGE_BYTES};

/// Why a memory file was refused or could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The file could not be read.
    #[error("cannot read the memory file")]
    Io(#[source] io::Error),
    /// Shorter than a header.
    #[error("a memory file of {found} bytes is shorter than its header")]
    TooShort {
        /// Bytes of the file.
        found: u64,
    },
    /// Not a memory file, or its writer did not finish.
    #[error("not a memory file: it begins with {found:02x?}")]
    Magic {
        /// Its first bytes.
        found: [u8; 8],
    },
    /// Another version of Thaw wrote it.
    #[error("memory format {found}; this Thaw reads format {VERSION}")]
    Version {
        /// The version that the file names.
        found: u32,
    },
    /// The header is damaged.
    #[error("the memory file's header has checksum {computed:08x}, not {stored:08x}")]
    HeaderChecksum {
        /// What the header says.
        stored: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// The header says something that this version does not allow.
    #[error("the memory file's {field} cannot be {value}")]
    Header {
        /// Which field.
        field: &'static str,
        /// Its value; of a longer field, its first eight bytes.
        value: u64,
    },
    /// The file was cut, or something was appended.
    #[error("a memory file of {expected} bytes has {found}")]
    Length {
        /// What the header says.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The index is damaged.
    #[error("the memory file's index does not have the digest in its header")]
    IndexDigest,
    /// An entry of the index says something impossible.
    #[error("the index entry of chunk {chunk}: {problem}")]
    Index {
        /// Which chunk.
        chunk: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// A frame is damaged.
    #[error("the frame of chunk {chunk} has checksum {computed:08x}, not {stored:08x}")]
    FrameChecksum {
        /// Which chunk.
        chunk: usize,
        /// What the index says.
        stored: u32,
        /// What the frame's bytes give.
        computed: u32,
    },
    /// zstd refused a frame.
    #[error("the frame of chunk {chunk} cannot be decompressed")]
    Frame {
        /// Which chunk.
        chunk: usize,
        /// What zstd said.
        source: io::Error,
    },
    /// A frame holds another number of bytes than its entry says.
    #[error("the frame of chunk {chunk} holds {found} bytes, not {expected}")]
    FrameLength {
        /// Which chunk.
        chunk: usize,
        /// Bytes of the present pages.
        expected: usize,
        /// Bytes that came out.
        found: usize,
    },
    /// The caller asked for a chunk beyond the end.
    #[error("chunk {chunk} of {count}")]
    NoSuchChunk {
        /// Which chunk.
        chunk: usize,
        /// How many there are.
        count: usize,
    },
    /// The caller's buffer is not as long as the chunk.
    #[error("chunk {chunk} needs a buffer of {expected} bytes, not {found}")]
    Buffer {
        /// Which chunk.
        chunk: usize,
        /// Bytes of the chunk.
        expected: usize,
        /// Bytes of the buffer.
        found: usize,
    },
}

/// Why memory could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The source is empty, too large or not in whole pages.
    #[error("memory of {found} bytes: need 1..={MAX_MEMORY_BYTES} in pages of {PAGE_BYTES}")]
    MemoryBytes {
        /// Bytes of the source.
        found: u64,
    },
    /// The file already holds something.
    #[error("the memory file is not empty: {found} bytes")]
    NotEmpty {
        /// Bytes of the file.
        found: u64,
    },
    /// Guest memory could not be read.
    #[error("cannot read guest memory at {offset:#x}")]
    Source {
        /// Where, in bytes.
        offset: u64,
        /// What the source said.
        source: io::Error,
    },
    /// zstd refused the level, or had no memory.
    #[error("cannot compress")]
    Compress(#[source] io::Error),
    /// The file could not be written.
    #[error("cannot write the memory file")]
    Io(#[source] io::Error),
}
