//! Writing guest memory.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;

use super::MemorySource;

/// How to write.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// zstd's level, 1..=19; 0 means the format's default.
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

/// Why memory could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The file could not be written.
    #[error("cannot write the memory file")]
    Io(#[source] io::Error),
}

/// Writes the memory of `source` to `file`, which must be empty, and answers when all is written
/// (not synced: committing the snapshot does that).
///
/// Holds about 1 MiB per thread. The source must not change meanwhile: the machine is paused.
pub fn write_memory(
    _file: &File,
    _source: &dyn MemorySource,
    _options: &WriteOptions,
) -> Result<Summary, WriteError> {
    unimplemented!()
}
