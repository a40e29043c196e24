//! LZ4 in the "legacy" framing that kernel images use.
//!
//! ```text
//! 02 21 4c 18 │ u32 length │ block │ u32 length │ block │ …
//! ```
//! A block holds at most 8 MiB of plain data. In a kernel image the stream ends where the
//! payload does, with four more bytes that are the length of the plain data.

use thiserror::Error;

/// First bytes of a legacy LZ4 stream.
pub const MAGIC: [u8; 4] = [0x02, 0x21, 0x4c, 0x18];

/// A block's plain data never exceeds this (LZ4's legacy format fixes it).
const BLOCK_LIMIT: usize = 8 << 20;

/// The shortest match that LZ4 encodes; the format stores lengths less this.
const MIN_MATCH: usize = 4;

/// Why a stream could not be read.
#[derive(Debug, Error)]
pub enum Error {
    /// The stream ends in the middle of a block.
    #[error("LZ4 data ends early")]
    Truncated,
    /// A match points before the start of its block, or a block is larger than the format allows.
    #[error("LZ4 data is damaged")]
    Damaged,
}

/// Decompresses a whole stream, magic included, and stops at `limit` bytes of plain data.
///
/// # Errors
/// [`Error`] when the stream is cut short or damaged, or when it holds more than `limit` bytes.
pub fn decompress(stream: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    let mut rest = stream.strip_prefix(&MAGIC).ok_or(Error::Damaged)?;
    let mut plain = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        if after.is_empty() {
            break; // the trailing length of the plain data
        }
        let (block, after) = after.split_at_checked(length).ok_or(Error::Truncated)?;
        decompress_block(block, &mut plain)?;
        if plain.len() > limit {
            return Err(Error::Damaged);
        }
        rest = after;
    }
    Ok(plain)
}

/// Appends one block's plain data to `plain`.
fn decompress_block(block: &[u8], plain: &mut Vec<u8>) -> Result<(), Error> {
    let start = plain.len();
    let mut input = Input(block);
    loop {
        let token = input.byte()?;
        let literals = input.length(token >> 4)?;
        plain.extend_from_slice(input.take(literals)?);
        if input.0.is_empty() {
            return Ok(()); // the last sequence has literals only
        }
        let distance = usize::from(u16::from_le_bytes([input.byte()?, input.byte()?]));
        let length = input.length(token & 0xf)? + MIN_MATCH;
        let written = plain.len() - start;
        if distance == 0 || distance > written || written + length > BLOCK_LIMIT {
            return Err(Error::Damaged);
        }
        repeat(plain, distance, length);
    }
}

/// Copies `length` bytes from `distance` bytes back; the two ranges may overlap.
fn repeat(plain: &mut Vec<u8>, distance: usize, length: usize) {
    let mut left = length;
    let from = plain.len() - distance;
    while left > 0 {
        // What lies between `from` and the end repeats itself, so it may be doubled each time.
        let step = left.min(plain.len() - from);
        plain.extend_from_within(from..from + step);
        left -= step;
    }
}

/// The unread part of a block.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> Result<u8, Error> {
        let (first, rest) = self.0.split_first().ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(*first)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Error::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A length that starts in a token's four bits and goes on while bytes are 255.
    fn length(&mut self, nibble: u8) -> Result<usize, Error> {
        let mut length = usize::from(nibble);
        if nibble == 15 {
            loop {
                let byte = self.byte()?;
                length += usize::from(byte);
                if byte != 255 {
                    break;
                }
            }
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "abcabcabcabc" as three literals and an overlapping match, then a literal.
    const BLOCK: [u8; 8] = [0x35, b'a', b'b', b'c', 3, 0, 0x10, b'!'];

    fn stream(block: &[u8]) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((block.len() as u32).to_le_bytes());
        bytes.extend(block);
        bytes
    }

    #[test]
    fn overlapping_matches_repeat() {
        assert_eq!(decompress(&stream(&BLOCK), 100).unwrap(), b"abcabcabcabc!");
    }

    #[test]
    fn the_trailing_length_is_left_alone() {
        let mut bytes = stream(&BLOCK);
        bytes.extend(13u32.to_le_bytes());
        assert_eq!(decompress(&bytes, 100).unwrap().len(), 13);
    }

    #[test]
    fn every_truncation_is_an_error_or_shorter() {
        let whole = stream(&BLOCK);
        for end in 0..whole.len() {
            if let Ok(plain) = decompress(&whole[..end], 100) {
                assert!(plain.len() < 13);
            }
        }
    }

    #[test]
    fn a_match_before_the_start_is_damage() {
        let result = decompress(&stream(&[0x15, b'a', 9, 0, 0x10, b'!']), 100);
        assert!(matches!(result, Err(Error::Damaged)));
    }

    #[test]
    fn more_than_the_limit_is_an_error() {
        assert!(decompress(&stream(&BLOCK), 12).is_err());
    }
}
