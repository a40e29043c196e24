//! Where the writer takes guest memory from.

use std::io;
use std::ops::Range;

/// Guest memory, its regions one after another in one address space without gaps.
///
/// The vmm implements this on its mapping, so that this crate needs no unsafe code.
/// Called from several threads at once.
#[expect(
    clippy::len_without_is_empty,
    reason = "a machine without memory does not exist"
)]
pub trait MemorySource: Sync {
    /// Bytes altogether: a positive multiple of [`PAGE_BYTES`](super::PAGE_BYTES), at most
    /// [`MAX_MEMORY_BYTES`](super::MAX_MEMORY_BYTES).
    fn len(&self) -> u64;

    /// Fills `buf` with the bytes at `offset`; the range lies within `len`.
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()>;

    /// The first range at or after `offset` that may hold something else than zeros, or `None`
    /// when nothing but zeros follows. Everything between `offset` and the range's start is
    /// saved as zeros **unread**: when in doubt (a page that is swapped out, or clean in the
    /// template it was restored from) it belongs to the range.
    ///
    /// The default says "all the rest", which is always right: the writer then reads every page.
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let len = self.len();
        Ok((offset < len).then_some(offset..len))
    }
}
