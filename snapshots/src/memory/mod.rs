//! Guest memory on disk.

mod reader;
mod source;
mod writer;

pub use reader::{ChunkReader, MemoryError, MemoryReader};
pub use source::MemorySource;
pub use writer::{Summary, WriteError, WriteOptions, write_memory};

/// Bytes of a page, the unit of the zero test.
pub const PAGE_BYTES: usize = 4096;
/// The largest guest memory, in bytes.
pub const MAX_MEMORY_BYTES: u64 = 16 << 30;
