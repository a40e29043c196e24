//! A snapshot's memory as a sealed memfd, which every clone maps `MAP_PRIVATE`.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};

use crate::memory::{MemoryError, MemoryReader};

/// Why a template could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The memory file is damaged.
    #[error("cannot read the snapshot's memory")]
    Memory(#[from] MemoryError),
    /// The host refused the memfd, or has no memory left for it.
    #[error("cannot fill the template")]
    Memfd(#[source] io::Error),
}

/// Guest memory of one snapshot: a memfd that nobody can change any more.
///
/// Zero pages are holes; they cost nothing until a guest writes to them.
#[derive(Debug)]
pub struct Template {}

impl Template {
    /// Decompresses all of `reader` with `threads` threads (`None`: one per core), the calling one included,
    /// then seals the memfd against writing, growing and shrinking.
    pub fn load(
        _reader: &MemoryReader,
        _threads: Option<NonZeroUsize>,
    ) -> Result<Self, TemplateError> {
        unimplemented!()
    }

    /// Bytes of guest memory: the length of the memfd.
    pub fn memory_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// Bytes of host memory that the template holds.
    pub fn resident_bytes(&self) -> u64 {
        unimplemented!()
    }
}

impl AsFd for Template {
    fn as_fd(&self) -> BorrowedFd<'_> {
        unimplemented!()
    }
}
