//! The bitmap file; drawn in the [parent module](super).

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::blocks::{Blocks, LEAF_BLOCKS, LEAF_WORDS, Leaf};
use super::{BLOCK_BYTES, BitmapError, DiskError, MAX_DISK_BYTES};
use crate::Digest;
use crate::bytes::Fields;

pub(super) const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"thaw-map";
/// Bytes before the digest, which covers them.
const CHECKED_BYTES: usize = 32;
const HEADER_BYTES: usize = CHECKED_BYTES + 32;
/// Bytes of a leaf and its number.
const LEAF_RECORD_BYTES: usize = 8 + LEAF_WORDS * 8;

/// What a bitmap file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bitmap {
    pub disk_bytes: u64,
    pub blocks: Blocks,
}

/// Writes `blocks` of a disk of `disk_bytes` to `file`, which must be empty.
pub(super) fn write(file: &File, disk_bytes: u64, blocks: &Blocks) -> Result<(), DiskError> {
    super::save::ensure_empty(file, "layer's bitmap")?;
    let mut leaves = Vec::new();
    let mut count = 0u64;
    for (number, leaf) in blocks.leaves() {
        count += 1;
        leaves.extend(number.to_le_bytes());
        leaves.extend(leaf.iter().flat_map(|word| word.to_le_bytes()));
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + leaves.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((BLOCK_BYTES as u32).to_le_bytes());
    bytes.extend(disk_bytes.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    let digest = digest(&bytes, &leaves);
    bytes.extend(digest.as_bytes());
    bytes.extend(leaves);
    file.write_all_at(&bytes, 0)
        .map_err(DiskError::io("write the layer's bitmap"))
}

/// Reads and checks `file`. The file's offset stays where it is.
pub(super) fn read(file: &File) -> Result<Bitmap, BitmapError> {
    let found = file.metadata().map_err(BitmapError::Io)?.len();
    if found < HEADER_BYTES as u64 {
        return Err(BitmapError::TooShort { found });
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0)
        .map_err(BitmapError::Io)?;
    let header = Header::decode(&header, found)?;
    let mut leaves = vec![0; (found - HEADER_BYTES as u64) as usize];
    file.read_exact_at(&mut leaves, HEADER_BYTES as u64)
        .map_err(BitmapError::Io)?;
    if digest(&header.checked, &leaves) != header.digest {
        return Err(BitmapError::Digest);
    }
    let blocks = decode_leaves(&leaves, header.disk_bytes.div_ceil(BLOCK_BYTES))?;
    Ok(Bitmap {
        disk_bytes: header.disk_bytes,
        blocks,
    })
}

struct Header {
    checked: [u8; CHECKED_BYTES],
    digest: Digest,
    disk_bytes: u64,
}

impl Header {
    /// Checks what has to be known before the rest may be read.
    fn decode(bytes: &[u8; HEADER_BYTES], file_bytes: u64) -> Result<Self, BitmapError> {
        let too_short = || BitmapError::TooShort { found: file_bytes };
        let fields = &mut Fields(bytes);
        let checked = fields.array::<CHECKED_BYTES>().ok_or_else(too_short)?;
        let digest = fields.array::<32>().ok_or_else(too_short)?;
        let fields = &mut Fields(&checked);
        let magic = fields.array().unwrap_or_default();
        if magic != MAGIC {
            return Err(BitmapError::Magic { found: magic });
        }
        let version = fields.u32().unwrap_or_default();
        if version != VERSION {
            return Err(BitmapError::Version { found: version });
        }
        let block_bytes = fields.u32().unwrap_or_default();
        if u64::from(block_bytes) != BLOCK_BYTES {
            return Err(BitmapError::BlockBytes { found: block_bytes });
        }
        let disk_bytes = fields.u64().unwrap_or_default();
        if !(1..=MAX_DISK_BYTES).contains(&disk_bytes) {
            return Err(BitmapError::DiskBytes { found: disk_bytes });
        }
        let leaves = fields.u64().unwrap_or_default();
        let most = disk_bytes.div_ceil(BLOCK_BYTES * LEAF_BLOCKS);
        // `most` is at most 2048: no product here can overflow.
        if leaves > most || file_bytes != HEADER_BYTES as u64 + leaves * LEAF_RECORD_BYTES as u64 {
            return Err(BitmapError::Length {
                leaves,
                found: file_bytes,
            });
        }
        Ok(Self {
            checked,
            digest: digest.into(),
            disk_bytes,
        })
    }
}

fn decode_leaves(bytes: &[u8], len: u64) -> Result<Blocks, BitmapError> {
    let mut blocks = Blocks::new(len);
    let mut least = 0;
    for record in bytes.chunks_exact(LEAF_RECORD_BYTES) {
        let fields = &mut Fields(record);
        let number = fields.u64().unwrap_or_default();
        let mut leaf: Leaf = [0; LEAF_WORDS];
        for word in &mut leaf {
            *word = fields.u64().unwrap_or_default();
        }
        let fail = |problem| Err(BitmapError::Leaf { number, problem });
        if number < least {
            return fail("is out of order");
        }
        if leaf.iter().all(|word| *word == 0) {
            return fail("is empty");
        }
        if !blocks.set_leaf(number, leaf) {
            return fail("is beyond the end of the disk");
        }
        least = number + 1;
    }
    let end = len.next_multiple_of(LEAF_BLOCKS);
    if (len..end).any(|block| blocks.contains(block)) {
        return Err(BitmapError::Leaf {
            number: len / LEAF_BLOCKS,
            problem: "has blocks beyond the end of the disk",
        });
    }
    Ok(blocks)
}

fn digest(header: &[u8], leaves: &[u8]) -> Digest {
    blake3::Hasher::new()
        .update(header)
        .update(leaves)
        .finalize()
        .into()
}
