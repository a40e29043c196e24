//! Which memory a chain gives back.

use std::io::Read;

use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::{MemoryReclaim, PAGE_SIZE};
use crate::virtio::Chain;

/// Page numbers that one inflate request may carry. Linux sends 256; more are ignored, so the
/// guest has merely given pages that the host does not use.
const MAX_PAGES: usize = 1024;
/// Bytes of a page number.
const NUMBER: usize = 4;
/// Ranges that one report may carry. Linux sends 32.
const MAX_RANGES: usize = 128;

/// Inflating: the chain holds page numbers. Neighbours are given back together.
pub fn inflate(memory: &GuestMemoryMmap, chain: Chain<'_>, reclaim: &dyn MemoryReclaim) {
    let Ok(mut reader) = chain.reader(memory) else {
        return;
    };
    let mut numbers = [0; MAX_PAGES * NUMBER];
    let len = reader.available_bytes().min(numbers.len());
    let numbers = &mut numbers[..len];
    if reader.read_exact(numbers).is_err() {
        return;
    }
    let mut pages: Vec<u32> = numbers
        .as_chunks()
        .0
        .iter()
        .map(|page| u32::from_le_bytes(*page))
        .collect();
    // Linux takes pages from the top of a free list: descending as often as ascending.
    pages.sort_unstable();
    pages.dedup();
    for run in pages.chunk_by(|one, next| one.checked_add(1) == Some(*next)) {
        if let Some(first) = run.first() {
            let start = u64::from(*first) * PAGE_SIZE;
            discard(
                memory,
                GuestAddress(start),
                run.len() as u64 * PAGE_SIZE,
                reclaim,
            );
        }
    }
}

/// Reporting: the chain's buffers are the free memory itself.
pub fn report(memory: &GuestMemoryMmap, chain: Chain<'_>, reclaim: &dyn MemoryReclaim) {
    for buffer in chain.writable().take(MAX_RANGES) {
        discard(memory, buffer.addr(), u64::from(buffer.len()), reclaim);
    }
}

/// Gives a range back, if it is whole pages of guest memory.
fn discard(memory: &GuestMemoryMmap, start: GuestAddress, len: u64, reclaim: &dyn MemoryReclaim) {
    let whole = len != 0 && (start.raw_value() | len).is_multiple_of(PAGE_SIZE);
    let inside = usize::try_from(len).is_ok_and(|len| memory.check_range(start, len));
    if !whole || !inside {
        tracing::debug!(start = start.raw_value(), len, "not memory to give back");
        return;
    }
    if let Err(error) = reclaim.discard(start, len) {
        tracing::debug!(start = start.raw_value(), len, %error, "cannot give memory back");
    }
}
