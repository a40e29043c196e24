//! A snapshot's memory as a sealed memfd, which every clone maps `MAP_PRIVATE`.
//!
//! Pages are decompressed into a buffer that stays in the core's cache and written with `pwrite`.
//! That measured 20 to 30% faster than decompressing into a shared mapping, populated ahead or not:
//! a mapping needs a page table, and the kernel clears each page only for it to be overwritten. It
//! also needs no unsafe code.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::memory::{MemoryError, MemoryReader, Pages};

/// The name that `/proc` shows.
const MEMFD_NAME: &str = "thaw-template";

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
/// Zero pages are holes; they cost nothing until a guest touches them.
#[derive(Debug)]
pub struct Template {
    memfd: File,
    memory_bytes: u64,
}

impl Template {
    /// Decompresses all of `reader` with `threads` threads (`None`: one per core), the calling one
    /// included, then seals the memfd against writing, growing and shrinking.
    ///
    /// Blocking: about 100 ms per core for 100 MiB of pages.
    pub fn load(
        reader: &MemoryReader,
        threads: Option<NonZeroUsize>,
    ) -> Result<Self, TemplateError> {
        let memfd = create(reader.memory_bytes()).map_err(TemplateError::Memfd)?;
        reader.for_each(threads, |pages| {
            write(&memfd, pages).map_err(TemplateError::Memfd)
        })?;
        seal(&memfd).map_err(TemplateError::Memfd)?;
        Ok(Self {
            memfd,
            memory_bytes: reader.memory_bytes(),
        })
    }

    /// Bytes of guest memory: the length of the memfd.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Bytes of host memory that the template holds.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        // Blocks are 512 bytes here, whatever the file system's are.
        Ok(self.memfd.metadata()?.blocks() * 512)
    }
}

impl AsFd for Template {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memfd.as_fd()
    }
}

fn create(bytes: u64) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let memfd = File::from(memfd_create(MEMFD_NAME, flags)?);
    memfd.set_len(bytes)?;
    Ok(memfd)
}

/// Puts a chunk's pages in their places; zero pages stay holes.
fn write(memfd: &File, pages: Pages<'_>) -> io::Result<()> {
    pages
        .runs()
        .try_for_each(|(offset, run)| memfd.write_all_at(run, offset))
}

/// The clones get the descriptor: none of them may change what the others see.
fn seal(memfd: &File) -> io::Result<()> {
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SEAL;
    fcntl(memfd, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}
