//! The pages that one chunk has.

use super::PAGE_BYTES;

/// The non-zero pages of a chunk, decompressed.
#[derive(Clone, Copy, Debug)]
pub struct Pages<'a> {
    /// Where the chunk begins in guest memory, in bytes.
    pub start: u64,
    /// Bit i: page i of the chunk is there.
    pub present: u64,
    /// The pages that are there, packed, in ascending order.
    pub packed: &'a [u8],
}

impl<'a> Pages<'a> {
    /// Neighbouring pages together: the offset in guest memory, in bytes, and the content.
    pub fn runs(self) -> impl Iterator<Item = (u64, &'a [u8])> {
        let Self {
            start,
            mut present,
            mut packed,
        } = self;
        let mut page = 0;
        std::iter::from_fn(move || {
            if present == 0 {
                return None;
            }
            let skip = present.trailing_zeros();
            present >>= skip;
            page += u64::from(skip);
            let count = present.trailing_ones();
            present = present.checked_shr(count).unwrap_or(0);
            let (run, rest) = packed.split_at_checked(count as usize * PAGE_BYTES)?;
            packed = rest;
            let offset = start + page * PAGE_BYTES as u64;
            page += u64::from(count);
            Some((offset, run))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cover_exactly_the_present_pages() {
        for present in [0, 1, 0b1011_0110, u64::MAX, 1 << 63, u64::MAX << 1] {
            let packed = vec![0; present.count_ones() as usize * PAGE_BYTES];
            let pages = Pages {
                start: 1 << 20,
                present,
                packed: &packed,
            };
            let mut seen = 0u64;
            for (offset, run) in pages.runs() {
                let first = (offset - (1 << 20)) / PAGE_BYTES as u64;
                for page in first..first + (run.len() / PAGE_BYTES) as u64 {
                    seen |= 1 << page;
                }
            }
            assert_eq!(seen, present);
        }
    }
}
