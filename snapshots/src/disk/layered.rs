//! The disk that the vmm's block device reads and writes.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::bitmap::{self, Bitmap};
use super::blocks::Blocks;
use super::save::{self, ensure_empty};
use super::{BLOCK_BYTES, DiskError, MAX_DISK_BYTES, sparse};

/// The two files of a saved layer.
#[derive(Debug)]
pub struct LayerFiles {
    /// Sparse: the blocks at their places.
    pub data: File,
    /// Which blocks are there.
    pub bitmap: File,
}

/// A disk: what it has itself written, over a snapshot's layer, over a base image.
///
/// All methods take `&self`, and each is atomic for others on the same disk: one lock, held during
/// the I/O, because a disk has one I/O thread and only saving ever waits for it.
#[derive(Debug)]
pub struct LayeredDisk {
    pub(super) len: u64,
    pub(super) base: File,
    pub(super) layer: Option<Layer>,
    pub(super) overlay: Mutex<Layer>,
}

/// A sparse file and the blocks that it has.
#[derive(Debug)]
pub(super) struct Layer {
    pub data: File,
    pub blocks: Blocks,
}

/// Where a block's content is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Overlay,
    Layer,
    Base,
}

impl LayeredDisk {
    /// Puts the layers together. `base` and `layer` are only read and may be shared; `overlay` is
    /// an empty file of this disk's own, open for reading and writing. Checks the layer's bitmap.
    pub fn open(base: File, layer: Option<LayerFiles>, overlay: File) -> Result<Self, DiskError> {
        let len = base
            .metadata()
            .map_err(DiskError::io("look at the base"))?
            .len();
        if !(1..=MAX_DISK_BYTES).contains(&len) {
            return Err(DiskError::BaseBytes { found: len });
        }
        let blocks = len.div_ceil(BLOCK_BYTES);
        let layer = layer.map(|files| open_layer(files, len)).transpose()?;
        ensure_empty(&overlay, "overlay")?;
        overlay
            .set_len(blocks * BLOCK_BYTES)
            .map_err(DiskError::io("size the overlay"))?;
        let overlay = Mutex::new(Layer {
            data: overlay,
            blocks: Blocks::new(blocks),
        });
        Ok(Self {
            len,
            base,
            layer,
            overlay,
        })
    }

    /// Bytes of the disk: the base's length. Never 0.
    #[expect(
        clippy::len_without_is_empty,
        reason = "an empty disk cannot be opened"
    )]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Fills `buf` with the bytes at `offset`.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.check_range(offset, buf.len() as u64)?;
        self.read_locked(&self.lock(), offset, buf)
    }

    /// Writes all of `buf` at `offset`.
    pub fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), DiskError> {
        self.check_range(offset, buf.len() as u64)?;
        let mut overlay = self.lock();
        let (head, whole) = split(offset, buf.len() as u64);
        let (head_buf, rest) = buf.split_at(head as usize);
        let (whole_buf, tail_buf) = rest.split_at((whole.end - whole.start) as usize);
        self.write_partial(&mut overlay, offset, head_buf)?;
        if !whole_buf.is_empty() {
            overlay.write(whole.start, whole_buf)?;
            overlay
                .blocks
                .insert(whole.start / BLOCK_BYTES..whole.end / BLOCK_BYTES);
        }
        self.write_partial(&mut overlay, whole.end, tail_buf)
    }

    /// Makes the range read as zeros and gives back its space; serves both discard and
    /// write-zeroes.
    pub fn write_zeroes(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        const ZEROS: [u8; BLOCK_BYTES as usize] = [0; BLOCK_BYTES as usize];
        self.check_range(offset, len)?;
        let mut overlay = self.lock();
        let (head, whole) = split(offset, len);
        let tail = len - head - (whole.end - whole.start);
        // Head and tail are parts of one block each.
        self.write_partial(
            &mut overlay,
            offset,
            ZEROS.get(..head as usize).unwrap_or_default(),
        )?;
        if !whole.is_empty() {
            self.zero_blocks(&mut overlay, whole.clone())?;
        }
        self.write_partial(
            &mut overlay,
            whole.end,
            ZEROS.get(..tail as usize).unwrap_or_default(),
        )
    }

    /// What a guest's flush asks for. The overlay never outlives the vmm, which alone knows its
    /// bitmap, so there is nothing that syncing would save from a crash of the host: this does no
    /// I/O. Snapshots are synced when they are committed.
    pub fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }

    /// Writes the snapshot's layer and the overlay, merged, to two empty files. Holes stay holes.
    ///
    /// The files are not synced: committing the snapshot does that.
    pub fn save_layer(&self, data: &File, bitmap: &File) -> Result<(), DiskError> {
        save::save(self, &self.lock(), data, bitmap)
    }

    fn lock(&self) -> MutexGuard<'_, Layer> {
        // A panic elsewhere leaves at worst blocks written and not yet in the set: still
        // consistent.
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_range(&self, offset: u64, len: u64) -> Result<(), DiskError> {
        match offset.checked_add(len) {
            Some(end) if end <= self.len => Ok(()),
            _ => Err(DiskError::OutOfRange {
                offset,
                len,
                disk_bytes: self.len,
            }),
        }
    }

    /// Where the blocks from `block` on are, and the end of the run that is in one place.
    pub(super) fn source(&self, overlay: &Layer, block: u64, limit: u64) -> (Source, u64) {
        let limit = overlay.blocks.run_end(block, limit);
        if overlay.blocks.contains(block) {
            return (Source::Overlay, limit);
        }
        match &self.layer {
            Some(layer) if layer.blocks.contains(block) => {
                (Source::Layer, layer.blocks.run_end(block, limit))
            }
            Some(layer) => (Source::Base, layer.blocks.run_end(block, limit)),
            None => (Source::Base, limit),
        }
    }

    fn read_locked(
        &self,
        overlay: &Layer,
        offset: u64,
        mut buf: &mut [u8],
    ) -> Result<(), DiskError> {
        let end = offset + buf.len() as u64;
        let mut at = offset;
        while at < end {
            let limit = end.div_ceil(BLOCK_BYTES);
            let (source, run_end) = self.source(overlay, at / BLOCK_BYTES, limit);
            let next = end.min(run_end * BLOCK_BYTES);
            let (part, rest) = buf.split_at_mut((next - at) as usize);
            match (source, &self.layer) {
                (Source::Overlay, _) => overlay.read(at, part)?,
                (Source::Layer, Some(layer)) => layer.read(at, part)?,
                _ => {
                    let read = self.base.read_exact_at(part, at);
                    read.map_err(DiskError::io("read the base"))?;
                }
            }
            (at, buf) = (next, rest);
        }
        Ok(())
    }

    /// Writes a part of one block, which is copied first if the overlay lacks it.
    fn write_partial(&self, overlay: &mut Layer, offset: u64, buf: &[u8]) -> Result<(), DiskError> {
        let block = offset / BLOCK_BYTES;
        if buf.is_empty() {
            return Ok(());
        }
        if overlay.blocks.contains(block) {
            return overlay.write(offset, buf);
        }
        let start = block * BLOCK_BYTES;
        let mut content = [0; BLOCK_BYTES as usize];
        // The disk's last block may be short; its rest is zero.
        let old = (self.len - start).min(BLOCK_BYTES) as usize;
        self.read_locked(overlay, start, content.get_mut(..old).unwrap_or_default())?;
        let from = (offset - start) as usize;
        if let Some(part) = content.get_mut(from..from + buf.len()) {
            part.copy_from_slice(buf);
        }
        overlay.write(start, &content)?;
        overlay.blocks.insert(block..block + 1);
        Ok(())
    }

    /// Zeroes whole blocks. What is a hole below needs no place in the overlay: a guest that trims
    /// its whole disk does not make its snapshots larger.
    fn zero_blocks(&self, overlay: &mut Layer, bytes: Range<u64>) -> Result<(), DiskError> {
        let io = DiskError::io;
        sparse::punch(&overlay.data, bytes.clone()).map_err(io("punch a hole in the overlay"))?;
        let blocks = bytes.start / BLOCK_BYTES..bytes.end / BLOCK_BYTES;
        overlay.blocks.remove(blocks.clone());
        if let Some(layer) = &self.layer {
            for run in layer.blocks.runs(blocks) {
                overlay.blocks.insert(run);
            }
        }
        let mut at = bytes.start;
        while let Some(data) =
            sparse::next_data(&self.base, at..bytes.end).map_err(io("find data in the base"))?
        {
            at = data.end;
            overlay
                .blocks
                .insert(data.start / BLOCK_BYTES..data.end.div_ceil(BLOCK_BYTES));
        }
        Ok(())
    }
}

impl Layer {
    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.data
            .read_exact_at(buf, offset)
            .map_err(DiskError::io("read a disk layer"))
    }

    fn write(&self, offset: u64, buf: &[u8]) -> Result<(), DiskError> {
        self.data
            .write_all_at(buf, offset)
            .map_err(DiskError::io("write the overlay"))
    }
}

fn open_layer(files: LayerFiles, base: u64) -> Result<Layer, DiskError> {
    let Bitmap { disk_bytes, blocks } = bitmap::read(&files.bitmap)?;
    if disk_bytes != base {
        return Err(DiskError::LayerOfOtherDisk {
            layer: disk_bytes,
            base,
        });
    }
    check_data_len(&files.data, &blocks).map(|()| Layer {
        data: files.data,
        blocks,
    })
}

/// The data file ends with the last block, so that no read can meet its end.
pub(super) fn check_data_len(data: &File, blocks: &Blocks) -> Result<(), DiskError> {
    let found = data
        .metadata()
        .map_err(DiskError::io("look at the layer's data"))?
        .len();
    let expected = blocks.len() * BLOCK_BYTES;
    if expected != found {
        return Err(DiskError::LayerBytes { expected, found });
    }
    Ok(())
}

/// Cuts a range of bytes into what comes before the first block boundary (its length), the whole
/// blocks, and the rest after them.
fn split(offset: u64, len: u64) -> (u64, Range<u64>) {
    let end = offset + len;
    let start = offset.next_multiple_of(BLOCK_BYTES).min(end);
    let whole_end = (end / BLOCK_BYTES * BLOCK_BYTES).max(start);
    (start - offset, start..whole_end)
}
