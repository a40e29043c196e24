//! What a manifest records of a layer.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use super::layered::check_data_len;
use super::{BLOCK_BYTES, DiskError, LayerFiles, bitmap, sparse};
use crate::Digest;

/// Bytes read at once: blocks of one extent.
const READ_BYTES: u64 = 256 << 10;

/// A layer's size and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    pub disk_bytes: u64,
    /// Bytes of the blocks that are not zero.
    pub stored_bytes: u64,
    /// Of those blocks, ascending: the number of each (u64, little-endian) and its content. Holes
    /// and stored zeros make no difference: a copy that lost its holes still has the same digest.
    pub blocks: Digest,
}

/// Checks the bitmap and reads all data.
pub(crate) fn measure(files: &LayerFiles) -> Result<Measured, DiskError> {
    let bitmap = bitmap::read(&files.bitmap)?;
    check_data_len(&files.data, &bitmap.blocks)?;
    let mut sum = Sum {
        hasher: blake3::Hasher::new(),
        stored_bytes: 0,
    };
    for run in bitmap.blocks.runs(0..bitmap.blocks.len()) {
        sum.add_run(&files.data, run)
            .map_err(DiskError::io("read the layer's data"))?;
    }
    Ok(Measured {
        disk_bytes: bitmap.disk_bytes,
        stored_bytes: sum.stored_bytes,
        blocks: sum.hasher.finalize().into(),
    })
}

struct Sum {
    hasher: blake3::Hasher,
    stored_bytes: u64,
}

impl Sum {
    fn add_run(&mut self, file: &File, run: Range<u64>) -> io::Result<()> {
        let end = run.end * BLOCK_BYTES;
        let mut at = run.start * BLOCK_BYTES;
        let mut buf = Vec::new();
        while let Some(data) = sparse::next_data(file, at..end)? {
            let start = data.start / BLOCK_BYTES * BLOCK_BYTES;
            let stop = data
                .end
                .next_multiple_of(BLOCK_BYTES)
                .min(start + READ_BYTES);
            buf.resize((stop - start) as usize, 0);
            file.read_exact_at(&mut buf, start)?;
            let numbers = start / BLOCK_BYTES..;
            for (number, block) in numbers.zip(buf.chunks_exact(BLOCK_BYTES as usize)) {
                self.add_block(number, block);
            }
            at = stop;
        }
        Ok(())
    }

    fn add_block(&mut self, number: u64, block: &[u8]) {
        if !crate::zero::is_zero(block) {
            self.hasher.update(&number.to_le_bytes()).update(block);
            self.stored_bytes += BLOCK_BYTES;
        }
    }
}
