//! Telling what is worth storing.

/// Whether every byte is zero. Looks at 64 bytes at a time: the first difference usually comes
/// soon, and a real zero page goes at the speed of memory.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<64>();
    blocks
        .iter()
        .all(|block| block.iter().fold(0, |all, byte| all | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_anywhere_is_not_zero() {
        let mut page = vec![0; 4096];
        assert!(is_zero(&page));
        for position in 0..4096 {
            page[position] = 1 << (position % 8);
            assert!(!is_zero(&page), "{position}");
            page[position] = 0;
        }
    }
}
