//! Guest memory as the snapshot writer reads it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use snapshots::memory::{MemorySource, PAGE_BYTES};
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion,
};

/// Which pages of this process exist: `/proc/self/pagemap`, opened before the process is locked up.
#[derive(Debug)]
pub struct Residency {
    pagemap: Option<File>,
}

impl Residency {
    /// Opens the page map. Without it saving reads every page, which is slower and no less right.
    pub fn open() -> Self {
        Self {
            pagemap: File::open("/proc/self/pagemap").ok(),
        }
    }
}

/// Guest memory, region after region without the gap.
#[derive(Debug)]
pub struct MappedMemory<'a> {
    memory: &'a GuestMemoryMmap,
    residency: &'a Residency,
    regions: Vec<Region>,
}

#[derive(Debug)]
struct Region {
    /// Where the region begins in the file.
    offset: u64,
    bytes: u64,
    guest: GuestAddress,
    host: u64,
    /// The template under a restored region, and where the region begins in it.
    template: Option<FileOffset>,
}

/// Page map entries read at a time: 2 MiB of guest memory for each 4 KiB.
const BATCH: usize = 512;
const ENTRY_BYTES: u64 = 8;
const PAGE: u64 = PAGE_BYTES as u64;
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;

impl<'a> MappedMemory<'a> {
    /// The memory of a machine.
    pub fn new(memory: &'a GuestMemoryMmap, residency: &'a Residency) -> Self {
        let mut offset = 0;
        let mut regions = Vec::new();
        for region in memory.iter() {
            regions.push(Region {
                offset,
                bytes: region.len(),
                guest: region.start_addr(),
                host: region.as_ptr() as u64,
                template: region.file_offset().cloned(),
            });
            offset += region.len();
        }
        Self {
            memory,
            residency,
            regions,
        }
    }

    fn region_of(&self, offset: u64) -> Option<&Region> {
        self.regions
            .iter()
            .find(|region| (region.offset..region.offset + region.bytes).contains(&offset))
    }
}

impl MemorySource for MappedMemory<'_> {
    fn len(&self) -> u64 {
        self.regions.iter().map(|region| region.bytes).sum()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let (mut offset, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let region = self.region_of(offset).ok_or(io::ErrorKind::UnexpectedEof)?;
            let within = offset - region.offset;
            let len = rest.len().min((region.bytes - within) as usize);
            let (now, later) = rest.split_at_mut(len);
            self.memory
                .read_slice(now, GuestAddress(region.guest.0 + within))
                .map_err(io::Error::other)?;
            offset += len as u64;
            rest = later;
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let len = self.len();
        let Some(pagemap) = &self.residency.pagemap else {
            return Ok((offset < len).then_some(offset..len));
        };
        let mut at = offset / PAGE * PAGE;
        let mut start = None;
        while let Some(region) = self.region_of(at) {
            let exists = pages_exist(pagemap, region, at)?;
            for exists in exists {
                match (exists, start) {
                    (true, None) => start = Some(at.max(offset)),
                    (false, Some(start)) => return Ok(Some(start..at)),
                    _ => {}
                }
                at += PAGE;
            }
        }
        Ok(start.map(|start| start..len))
    }
}

/// For up to [`BATCH`] pages from `offset` on, whether they may hold something else than zeros.
fn pages_exist(pagemap: &File, region: &Region, offset: u64) -> io::Result<Vec<bool>> {
    let within = offset - region.offset;
    let pages = ((region.bytes - within) / PAGE).min(BATCH as u64) as usize;
    let mut entries = vec![0; pages * ENTRY_BYTES as usize];
    pagemap.read_exact_at(&mut entries, (region.host + within) / PAGE * ENTRY_BYTES)?;
    let entries = entries.as_chunks().0.iter();
    let mut exist: Vec<bool> = entries
        .map(|entry| u64::from_ne_bytes(*entry) & (PRESENT | SWAPPED) != 0)
        .collect();
    if let Some(template) = &region.template {
        mark_template(template, within, &mut exist)?;
    }
    Ok(exist)
}

/// Marks the pages that the template has, although this process may never have touched them.
///
/// Pages that neither have are not read: reading a hole of a memfd would fill it for good.
fn mark_template(template: &FileOffset, within: u64, exist: &mut [bool]) -> io::Result<()> {
    let file = template.file();
    let start = template.start() + within;
    let end = start + exist.len() as u64 * PAGE;
    let mut at = start;
    while at < end {
        let Some(data) = seek(file, at, Whence::SeekData)?.filter(|data| *data < end) else {
            break;
        };
        let hole = seek(file, data, Whence::SeekHole)?.map_or(end, |hole| hole.min(end));
        let pages = ((data - start) / PAGE) as usize..(hole - start).div_ceil(PAGE) as usize;
        if let Some(pages) = exist.get_mut(pages) {
            pages.fill(true);
        }
        at = hole.max(data + 1);
    }
    Ok(())
}

/// The next data or hole, or `None` behind the last one.
fn seek(file: &File, from: u64, whence: Whence) -> io::Result<Option<u64>> {
    let from = i64::try_from(from).map_err(io::Error::other)?;
    match lseek(file, from, whence) {
        Ok(found) => Ok(u64::try_from(found).ok()),
        Err(Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
