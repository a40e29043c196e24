//! Reading guest memory, chunk by chunk and on any number of threads.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use zstd::bulk::Decompressor;

use super::header::{HEADER_BYTES, Header};
use super::index::{self, Slot};
use super::{MemoryError, PAGE_BYTES, Pages};
use crate::Digest;

/// Chunks whose frames are read with one call: [`ChunkReader::fetch`] holds no more.
pub(super) const FETCH_CHUNKS: usize = 16;

/// An open memory file whose header and index have been checked.
#[derive(Debug)]
pub struct MemoryReader {
    file: File,
    header: Header,
    slots: Vec<Slot>,
    fingerprint: Digest,
}

impl MemoryReader {
    /// Checks header, size and index of `file`. The frames are checked when they are read.
    pub fn open(file: File) -> Result<Self, MemoryError> {
        let found = file.metadata().map_err(MemoryError::Io)?.len();
        if found < HEADER_BYTES as u64 {
            return Err(MemoryError::TooShort { found });
        }
        let mut bytes = [0; HEADER_BYTES];
        file.read_exact_at(&mut bytes, 0).map_err(MemoryError::Io)?;
        let header = Header::decode(&bytes)?;
        if header.file_bytes != found {
            return Err(MemoryError::Length {
                expected: header.file_bytes,
                found,
            });
        }
        let mut index = vec![0; header.index_bytes()];
        let index_start = found - header.index_bytes() as u64;
        file.read_exact_at(&mut index, index_start)
            .map_err(MemoryError::Io)?;
        if Digest::of(&index) != header.index_digest {
            return Err(MemoryError::IndexDigest);
        }
        let slots = index::decode(&index, &header)?;
        Ok(Self {
            file,
            header,
            slots,
            fingerprint: Digest::of(&bytes),
        })
    }

    /// Bytes of guest memory.
    pub fn memory_bytes(&self) -> u64 {
        self.header.memory_bytes
    }

    /// Bytes of the pages that are stored: the host memory that a
    /// [`Template`](crate::template::Template) takes. A file that is small says nothing about it.
    pub fn present_bytes(&self) -> u64 {
        let slots = self.slots.iter();
        slots.map(|slot| slot.entry.packed_bytes() as u64).sum()
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.header.file_bytes
    }

    /// Bytes of a chunk, a power of two; the last chunk may be shorter.
    pub fn chunk_bytes(&self) -> usize {
        self.header.chunk_bytes
    }

    /// How many chunks there are.
    pub fn chunk_count(&self) -> usize {
        self.slots.len()
    }

    /// A digest of the header, and through it of the index and of every frame's checksum: two files
    /// with one fingerprint hold the same memory, as far as accidents go.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint
    }

    /// What one thread needs to read chunks.
    pub fn chunks(&self) -> Result<ChunkReader<'_>, MemoryError> {
        Ok(ChunkReader {
            reader: self,
            decompressor: Decompressor::new().map_err(MemoryError::Io)?,
            frames: Vec::new(),
            fetched: 0..0,
            packed: vec![0; self.header.chunk_bytes],
        })
    }

    fn slot(&self, chunk: usize) -> Result<&Slot, MemoryError> {
        let count = self.slots.len();
        self.slots
            .get(chunk)
            .ok_or(MemoryError::NoSuchChunk { chunk, count })
    }
}

/// Reads chunks of one memory file; one per thread.
pub struct ChunkReader<'a> {
    reader: &'a MemoryReader,
    decompressor: Decompressor<'static>,
    /// Bytes `fetched` of the file.
    frames: Vec<u8>,
    fetched: Range<u64>,
    packed: Vec<u8>,
}

impl ChunkReader<'_> {
    /// Reads the frames of `chunks`, or of as many as fit, with one call, so that
    /// [`pages`](Self::pages) finds them.
    pub fn fetch(&mut self, chunks: Range<usize>) -> Result<(), MemoryError> {
        let end = chunks.end.min(chunks.start.saturating_add(FETCH_CHUNKS));
        let slots = self.reader.slots.get(chunks.start..end).unwrap_or_default();
        let (Some(first), Some(last)) = (slots.first(), slots.last()) else {
            return Ok(());
        };
        let range = first.offset..last.offset + u64::from(last.entry.frame_bytes);
        self.fetched = 0..0;
        self.frames.resize((range.end - range.start) as usize, 0);
        self.reader
            .file
            .read_exact_at(&mut self.frames, range.start)
            .map_err(MemoryError::Io)?;
        self.fetched = range;
        Ok(())
    }

    /// Decompresses the pages that `chunk` has.
    pub fn pages(&mut self, chunk: usize) -> Result<Pages<'_>, MemoryError> {
        let Slot { entry, offset } = *self.reader.slot(chunk)?;
        let start = chunk as u64 * self.reader.header.chunk_bytes as u64;
        if entry.present == 0 {
            return Ok(Pages {
                start,
                present: 0,
                packed: &[],
            });
        }
        let range = offset..offset + u64::from(entry.frame_bytes);
        if range.start < self.fetched.start || range.end > self.fetched.end {
            self.fetch(chunk..chunk + 1)?;
        }
        let from = (range.start - self.fetched.start) as usize;
        let frame = self
            .frames
            .get(from..from + entry.frame_bytes as usize)
            .unwrap_or_default();
        let computed = crc32c::crc32c(frame);
        if computed != entry.frame_checksum {
            let stored = entry.frame_checksum;
            return Err(MemoryError::FrameChecksum {
                chunk,
                stored,
                computed,
            });
        }
        let expected = entry.packed_bytes();
        let packed = self.packed.get_mut(..expected).unwrap_or_default();
        let found = self
            .decompressor
            .decompress_to_buffer(frame, packed)
            .map_err(|source| MemoryError::Frame { chunk, source })?;
        if found != expected {
            return Err(MemoryError::FrameLength {
                chunk,
                expected,
                found,
            });
        }
        Ok(Pages {
            start,
            present: entry.present,
            packed,
        })
    }

    /// Fills `buf` with the chunk, zero pages included. `buf` has exactly the chunk's length.
    pub fn read(&mut self, chunk: usize, buf: &mut [u8]) -> Result<(), MemoryError> {
        let expected = self.reader.header.chunk_len(chunk);
        let pages = self.pages(chunk)?;
        if buf.len() != expected {
            return Err(MemoryError::Buffer {
                chunk,
                expected,
                found: buf.len(),
            });
        }
        let mut packed = pages.packed.chunks_exact(PAGE_BYTES);
        for (page, buf) in buf.chunks_exact_mut(PAGE_BYTES).enumerate() {
            match (pages.present >> page & 1 == 1)
                .then(|| packed.next())
                .flatten()
            {
                Some(content) => buf.copy_from_slice(content),
                None => buf.fill(0),
            }
        }
        Ok(())
    }
}
