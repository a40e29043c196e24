//! Writing guest memory, on all cores and with little memory of one's own.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};
use std::thread;

use zstd::bulk::Compressor;

use super::header::{HEADER_BYTES, Header, is_memory_bytes};
use super::index::{self, Entry};
use super::sequencer::Sequencer;
use super::{MemorySource, PAGE_BYTES, WriteError, pack};
use crate::Digest;
use crate::threads::thread_count;

/// Bytes of a chunk.
const CHUNK_BYTES: usize = 64 << 10;
/// Chunks that one worker compresses before it writes: 1 MiB of guest memory, one write call.
const BATCH_CHUNKS: usize = 16;
/// zstd's level when none is asked for.
pub const DEFAULT_LEVEL: i32 = 1;

/// How to write.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// zstd's level, 1..=22; 0 means [`DEFAULT_LEVEL`].
    pub level: i32,
    /// Threads that read and compress, the calling one included; `None` means one per core.
    pub threads: Option<NonZeroUsize>,
}

/// What was written, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Guest memory.
    pub memory_bytes: u64,
    /// The file.
    pub stored_bytes: u64,
    /// Guest memory in zero pages, which are not stored.
    pub zero_bytes: u64,
}

/// Writes the memory of `source` to `file`, which must be empty, and answers when all is written
/// (not synced: committing the snapshot does that).
///
/// Holds about 2 MiB per thread. The source must not change meanwhile: the machine is paused.
pub fn write_memory(
    file: &File,
    source: &dyn MemorySource,
    options: &WriteOptions,
) -> Result<Summary, WriteError> {
    write_chunks(file, source, options, CHUNK_BYTES)
}

/// [`write_memory`] with a chunk size to choose, for measurements and tests.
pub(super) fn write_chunks(
    file: &File,
    source: &dyn MemorySource,
    options: &WriteOptions,
    chunk_bytes: usize,
) -> Result<Summary, WriteError> {
    let memory_bytes = source.len();
    if !is_memory_bytes(memory_bytes) {
        return Err(WriteError::MemoryBytes {
            found: memory_bytes,
        });
    }
    let found = file.metadata().map_err(WriteError::Io)?.len();
    if found != 0 {
        return Err(WriteError::NotEmpty { found });
    }
    let mut header = Header {
        chunk_bytes,
        memory_bytes,
        file_bytes: 0,
        index_digest: Digest::of(&[]),
    };
    let mut entries = vec![Entry::default(); header.chunk_count()];
    let frames_end = write_frames(file, source, options, &header, &mut entries)?;

    let index = index::encode(&entries);
    header.file_bytes = frames_end + index.len() as u64;
    header.index_digest = Digest::of(&index);
    file.write_all_at(&index, frames_end)
        .map_err(WriteError::Io)?;
    file.write_all_at(&header.encode(), 0)
        .map_err(WriteError::Io)?;

    let data_bytes: usize = entries.iter().map(Entry::packed_bytes).sum();
    Ok(Summary {
        memory_bytes,
        stored_bytes: header.file_bytes,
        zero_bytes: memory_bytes - data_bytes as u64,
    })
}

/// Fills `entries`, and the file with their frames. Answers where the frames end.
fn write_frames(
    file: &File,
    source: &dyn MemorySource,
    options: &WriteOptions,
    header: &Header,
    entries: &mut [Entry],
) -> Result<u64, WriteError> {
    let workers = thread_count(options.threads, entries.len().div_ceil(BATCH_CHUNKS));
    let sequencer = Sequencer::new(HEADER_BYTES as u64);
    let batches = Mutex::new(entries.chunks_mut(BATCH_CHUNKS).enumerate());
    let next = || {
        batches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next()
    };

    let work = || -> Result<(), WriteError> {
        let alarm = sequencer.alarm();
        let mut packer = Packer::new(source, options.level, header)?;
        while let Some((batch, entries)) = next() {
            let frames = packer.pack(batch * BATCH_CHUNKS, entries)?;
            let Some(offset) = sequencer.place(batch, frames.len()) else {
                break;
            };
            file.write_all_at(frames, offset).map_err(WriteError::Io)?;
        }
        alarm.disarm();
        Ok(())
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let own = work();
        others.into_iter().fold(own, |all, other| {
            // A panic goes on in the thread that asked for the work.
            all.and(
                other
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            )
        })
    })?;
    Ok(sequencer.end())
}

/// One worker's compressor and buffers.
struct Packer<'a> {
    source: &'a dyn MemorySource,
    header: &'a Header,
    compressor: Compressor<'static>,
    pages: Vec<u8>,
    frames: Vec<u8>,
}

impl<'a> Packer<'a> {
    fn new(
        source: &'a dyn MemorySource,
        level: i32,
        header: &'a Header,
    ) -> Result<Self, WriteError> {
        let level = if level == 0 { DEFAULT_LEVEL } else { level };
        Ok(Self {
            source,
            header,
            compressor: Compressor::new(level).map_err(WriteError::Compress)?,
            pages: vec![0; header.chunk_bytes],
            frames: Vec::new(),
        })
    }

    /// Compresses the chunks from `first` on, one for each of `entries`, which it fills. Answers
    /// their frames.
    fn pack(&mut self, first: usize, entries: &mut [Entry]) -> Result<&[u8], WriteError> {
        self.frames.clear();
        for (chunk, entry) in (first..).zip(entries) {
            *entry = self.pack_chunk(chunk)?;
        }
        Ok(&self.frames)
    }

    fn pack_chunk(&mut self, chunk: usize) -> Result<Entry, WriteError> {
        let (present, packed) = self.read_pages(chunk)?;
        if present == 0 {
            return Ok(Entry::default());
        }
        let start = self.frames.len();
        self.frames
            .resize(start + zstd::zstd_safe::compress_bound(packed), 0);
        let (pages, room) = (self.pages.get(..packed), self.frames.get_mut(start..));
        let frame_bytes = self
            .compressor
            .compress_to_buffer(pages.unwrap_or_default(), room.unwrap_or_default())
            .map_err(WriteError::Compress)?;
        self.frames.truncate(start + frame_bytes);
        let frame = self.frames.get(start..).unwrap_or_default();
        Ok(Entry {
            present,
            frame_bytes: frame_bytes as u32,
            frame_checksum: crc32c::crc32c(frame),
        })
    }

    /// Reads the chunk's non-zero pages to the front of `self.pages`. Answers their bitmap and how
    /// many bytes they are.
    fn read_pages(&mut self, chunk: usize) -> Result<(u64, usize), WriteError> {
        let start = chunk as u64 * self.header.chunk_bytes as u64;
        let end = start + self.header.chunk_len(chunk) as u64;
        let (mut present, mut packed, mut at) = (0, 0, start);
        while at < end {
            let fail = |source| WriteError::Source { offset: at, source };
            let Some(data) = self.source.next_data(at).map_err(fail)? else {
                break;
            };
            // Whole pages that lie in this chunk, whatever the source says.
            let page = PAGE_BYTES as u64;
            let from = (data.start / page * page).max(at);
            let to = data.end.min(end).next_multiple_of(page);
            if from >= end {
                break;
            }
            let bytes = to.saturating_sub(from).max(page) as usize;
            let Some(room) = self.pages.get_mut(packed..packed + bytes) else {
                break;
            };
            self.source.read(from, room).map_err(fail)?;
            let found = pack::pack(room);
            present |= found << ((from - start) / page);
            packed += found.count_ones() as usize * PAGE_BYTES;
            at = from + bytes as u64;
        }
        Ok((present, packed))
    }
}
