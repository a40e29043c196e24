//! Finding the pages that are worth storing.

use super::PAGE_BYTES;
use crate::zero::is_zero;

/// Moves the non-zero pages of `pages` to its front, in order. Answers a bit for each page that is
/// there now; at most 64 pages.
pub(super) fn pack(pages: &mut [u8]) -> u64 {
    let mut present = 0u64;
    let mut packed = 0;
    for (number, start) in (0..pages.len()).step_by(PAGE_BYTES).enumerate() {
        let page = start..start + PAGE_BYTES;
        if pages.get(page.clone()).is_none_or(is_zero) {
            continue;
        }
        present |= 1 << number;
        if packed != start {
            pages.copy_within(page, packed);
        }
        packed += PAGE_BYTES;
    }
    present
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_the_order() {
        let mut pages = vec![0; 5 * PAGE_BYTES];
        pages[PAGE_BYTES] = 1;
        pages[5 * PAGE_BYTES - 1] = 4;
        assert_eq!(pack(&mut pages), 0b10010);
        assert_eq!((pages[0], pages[2 * PAGE_BYTES - 1]), (1, 4));
    }
}
