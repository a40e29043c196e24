//! Guest memory: mapping it, and giving pages back to the host.
#![expect(unsafe_code, reason = "madvise takes raw addresses")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::Arc;

use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{
    FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap, MmapRegion,
};

use super::layout;

/// The processor's larger page.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Why guest memory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// The host has not enough address space or memory.
    #[error("cannot map {bytes} bytes of guest memory")]
    Map {
        /// Bytes of the region.
        bytes: u64,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Regions that do not fit beside each other.
    #[error("guest memory regions overlap")]
    Regions,
    /// The template has another size than the machine's memory.
    #[error("the template has {found} bytes, the machine {expected}")]
    TemplateSize {
        /// Bytes of the file.
        found: u64,
        /// Bytes of the machine.
        expected: u64,
    },
    /// The template cannot be looked at.
    #[error("cannot stat the template")]
    Stat(#[source] io::Error),
}

/// Fresh memory, all zeros: for a cold boot.
///
/// # Errors
///
/// [`MemoryError::Map`].
pub fn anonymous(bytes: u64) -> Result<GuestMemoryMmap, MemoryError> {
    let memory = map(bytes, None)?;
    for region in memory.iter() {
        // A boot touches tens of thousands of pages. In huge ones each first touch is one exit
        // instead of 512. A restored clone keeps small pages: there a huge one would cost 2 MiB
        // for the first byte that is written.
        advise(region.as_ptr(), region.size(), libc::MADV_HUGEPAGE);
    }
    Ok(memory)
}

/// The memory of a saved machine: clean pages are shared with every clone, written ones are copied.
///
/// # Errors
///
/// When the template has the wrong size or cannot be mapped.
pub fn template(bytes: u64, file: File) -> Result<GuestMemoryMmap, MemoryError> {
    let found = file.metadata().map_err(MemoryError::Stat)?.len();
    if found != bytes {
        return Err(MemoryError::TemplateSize {
            found,
            expected: bytes,
        });
    }
    map(bytes, Some(Arc::new(file)))
}

/// Gives the pages of a range back to the host.
///
/// What the guest reads there next is zeros in fresh memory and the template's old contents in a
/// restored one. Both are safe: the guest has declared the pages free, so it takes their contents
/// for garbage (a kernel that relies on zeroed free pages does not use the feature unless the
/// device offers page poisoning, and ours does not), and the template holds nothing but what this
/// guest itself once wrote.
pub fn discard(memory: &GuestMemoryMmap, address: GuestAddress, bytes: usize) -> io::Result<()> {
    let slice = memory
        .get_slice(address, bytes)
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    let start = slice.ptr_guard_mut();
    // SAFETY: the slice lies within a live mapping of guest memory, which nobody reads through references.
    let result = unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_DONTNEED) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn map(bytes: u64, file: Option<Arc<File>>) -> Result<GuestMemoryMmap, MemoryError> {
    let mut regions = Vec::new();
    let mut offset = 0;
    for (start, len) in layout::memory_ranges(bytes) {
        let at = file
            .as_ref()
            .map(|file| FileOffset::from_arc(Arc::clone(file), offset));
        let region = map_region(len as usize, at)
            .map_err(|source| MemoryError::Map { bytes: len, source })?;
        // A core dump of the vmm must not hold what the guest holds.
        advise(region.as_ptr(), region.size(), libc::MADV_DONTDUMP);
        offset += len;
        regions
            .push(GuestRegionMmap::new(region, GuestAddress(start)).ok_or(MemoryError::Regions)?);
    }
    GuestMemoryMmap::from_regions(regions).map_err(|_| MemoryError::Regions)
}

/// Maps one region at a multiple of [`HUGE_PAGE_BYTES`]: KVM maps a huge page to the guest only where
/// host and guest addresses agree in their lower bits.
///
/// What is left of the reservation on both sides stays inaccessible, as a fence. Nothing is ever
/// unmapped: a vmm has one machine, and ends with it.
fn map_region(bytes: usize, file: Option<FileOffset>) -> io::Result<MmapRegion> {
    let reserved = reserve(bytes + HUGE_PAGE_BYTES)?;
    let aligned = reserved.map_addr(|address| address.next_multiple_of(HUGE_PAGE_BYTES));
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE | libc::MAP_FIXED;
    let (flags, fd, offset) = match &file {
        Some(at) => (flags, at.file().as_raw_fd(), at.start()),
        None => (flags | libc::MAP_ANONYMOUS, -1, 0),
    };
    // SAFETY: the range lies within our own reservation, so it replaces nobody's mapping.
    let mapped = unsafe {
        libc::mmap(
            aligned.cast(),
            bytes,
            prot,
            flags,
            fd,
            offset as libc::off_t,
        )
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let mut builder = MmapRegionBuilder::new(bytes)
        .with_mmap_prot(prot)
        .with_mmap_flags(flags);
    if let Some(at) = file {
        builder = builder.with_file_offset(at);
    }
    // SAFETY: `bytes` from `aligned` on are mapped, and stay so until the process ends.
    let builder = unsafe { builder.with_raw_mmap_pointer(aligned) };
    builder.build().map_err(io::Error::other)
}

/// Address space that nothing else will be mapped into.
fn reserve(bytes: usize) -> io::Result<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_NORESERVE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping where the kernel likes touches nothing that exists.
    let reserved = unsafe { libc::mmap(null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
    if reserved == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(reserved.cast())
}

/// Advice is advice: a kernel without the feature is no error.
fn advise(start: *mut u8, bytes: usize, advice: i32) {
    // SAFETY: the range is a live mapping of guest memory, and the advices used keep its contents.
    unsafe { libc::madvise(start.cast(), bytes, advice) };
}
