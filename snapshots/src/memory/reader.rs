//! Reading guest memory.

use std::fs::File;
use std::io;

use crate::Digest;

/// Why a memory file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The file could not be read.
    #[error("cannot read the memory file")]
    Io(#[source] io::Error),
}

/// An open memory file whose header and index have been checked.
#[derive(Debug)]
pub struct MemoryReader {
    _file: File,
}

impl MemoryReader {
    /// Checks header, size and index of `file`. The frames are checked when they are read.
    pub fn open(_file: File) -> Result<Self, MemoryError> {
        unimplemented!()
    }

    /// Bytes of guest memory.
    pub fn memory_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// Bytes of a chunk, a power of two; the last chunk may be shorter.
    pub fn chunk_bytes(&self) -> usize {
        unimplemented!()
    }

    /// How many chunks there are.
    pub fn chunk_count(&self) -> usize {
        unimplemented!()
    }

    /// A digest of header and index, and through the index of every frame's checksum.
    pub fn fingerprint(&self) -> Digest {
        unimplemented!()
    }

    /// What one thread needs to read chunks.
    pub fn chunks(&self) -> Result<ChunkReader<'_>, MemoryError> {
        unimplemented!()
    }

    /// Reads and checks every frame, on all cores.
    pub fn verify(&self) -> Result<(), MemoryError> {
        unimplemented!()
    }
}

/// Reads chunks of one memory file; one per thread.
#[derive(Debug)]
pub struct ChunkReader<'a> {
    _reader: &'a MemoryReader,
}

impl ChunkReader<'_> {
    /// Fills `buf` with the chunk, zero pages included. `buf` has the chunk's length.
    pub fn read(&mut self, _chunk: usize, _buf: &mut [u8]) -> Result<(), MemoryError> {
        unimplemented!()
    }
}
