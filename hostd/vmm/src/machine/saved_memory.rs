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

use crate::jail::without_sys_admin;

/// Which pages of this process exist: `/proc/self/pagemap`, opened before the process is locked up.
#[derive(Debug)]
pub struct Residency {
    pagemap: Option<File>,
}

impl Residency {
    /// Opens the page map. Without it saving reads every page, which is slower and no less right.
    ///
    /// The kernel shows physical addresses to those who had `CAP_SYS_ADMIN` when they opened it, for
    /// as long as they hold it. A guest that has taken this process over must not learn them.
    pub fn open() -> Self {
        let open = || File::open("/proc/self/pagemap");
        Self {
            pagemap: without_sys_admin(open).and_then(|opened| opened).ok(),
        }
    }
}

/// Guest memory, region after region without the gap.
#[derive(Debug)]
pub struct MappedMemory<'a> {
    memory: &'a GuestMemoryMmap,
    regions: Vec<Region>,
    /// One bit for each page that may hold something else than zeros.
    exists: Vec<u64>,
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

/// Page map entries read at a time, and the most pages that are answered as one range.
const BATCH: usize = 512;
const ENTRY_BYTES: u64 = 8;
const PAGE: u64 = PAGE_BYTES as u64;
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;

impl<'a> MappedMemory<'a> {
    /// The memory of a machine that stands still.
    ///
    /// # Errors
    ///
    /// When the page map or the template cannot be read.
    pub fn new(memory: &'a GuestMemoryMmap, residency: &Residency) -> io::Result<Self> {
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
        let exists = match &residency.pagemap {
            Some(pagemap) => existing_pages(pagemap, &regions)?,
            None => vec![u64::MAX; (offset / PAGE).div_ceil(64) as usize],
        };
        Ok(Self {
            memory,
            regions,
            exists,
        })
    }

    fn region_of(&self, offset: u64) -> Option<&Region> {
        self.regions
            .iter()
            .find(|region| (region.offset..region.offset + region.bytes).contains(&offset))
    }

    fn exists(&self, page: u64) -> bool {
        let word = self.exists.get((page / 64) as usize).copied();
        word.unwrap_or(0) >> (page % 64) & 1 == 1
    }

    /// The first page from `page` on that exists.
    fn next_page(&self, page: u64) -> Option<u64> {
        let first = (page / 64) as usize;
        let words = self.exists.iter().enumerate().skip(first);
        let masked = words.map(|(index, word)| {
            let before = if index == first { page % 64 } else { 0 };
            (index, word >> before << before)
        });
        masked
            .filter(|(_, word)| *word != 0)
            .map(|(index, word)| index as u64 * 64 + u64::from(word.trailing_zeros()))
            .next()
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
        let Some(first) = self.next_page(offset / PAGE) else {
            return Ok(None);
        };
        let pages = (first..first + BATCH as u64).take_while(|page| self.exists(*page));
        let end = (first + pages.count() as u64) * PAGE;
        Ok(Some(offset.max(first * PAGE)..end.min(self.len())))
    }
}

/// One bit for each page of all regions.
fn existing_pages(pagemap: &File, regions: &[Region]) -> io::Result<Vec<u64>> {
    let pages = regions
        .iter()
        .map(|region| region.bytes / PAGE)
        .sum::<u64>();
    let mut bits = vec![0; pages.div_ceil(64) as usize];
    for region in regions {
        let mut at = region.offset;
        while at < region.offset + region.bytes {
            let exist = pages_exist(pagemap, region, at)?;
            for (page, _) in (at / PAGE..).zip(&exist).filter(|(_, exists)| **exists) {
                if let Some(word) = bits.get_mut((page / 64) as usize) {
                    *word |= 1 << (page % 64);
                }
            }
            at += exist.len() as u64 * PAGE;
        }
    }
    Ok(bits)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Frame numbers are in the low bits of an entry, and 0 for whoever must not know them.
    #[test]
    fn the_page_map_says_which_pages_exist_and_not_where() {
        let page = Box::new([7u8; 2 * PAGE_BYTES]);
        let at = (page.as_ptr() as u64).div_ceil(PAGE) * ENTRY_BYTES;
        let pagemap = Residency::open().pagemap.unwrap();
        let mut entry = [0; ENTRY_BYTES as usize];
        pagemap.read_exact_at(&mut entry, at).unwrap();
        let entry = u64::from_ne_bytes(entry);
        assert_ne!(entry & PRESENT, 0);
        assert_eq!(entry & ((1 << 55) - 1), 0);
    }
}
