//! A writable disk in three layers, so that a snapshot's disk is shared by its clones.
//!
//! ```text
//!   write ──────► overlay   this sandbox's own blocks: a sparse file, its bitmap in memory
//!   read ──┬────► overlay   if the block is there
//!          ├────► layer     else, if the snapshot has it: a sparse data file and a bitmap file
//!          └────► base      else: the image's file, read-only
//! ```
//!
//! A block is [`BLOCK_BYTES`] long. A smaller write to a block that the overlay lacks copies the
//! block first. [`save_layer`](LayeredDisk::save_layer) writes layer and overlay merged, so the
//! chain never gets deeper.
//!
//! The data file has each block at its own offset; blocks that are zero may be holes. Its length is
//! the disk's, rounded up to a whole block. The bitmap file says which blocks are there, in leaves
//! of 4 KiB that each speak of 128 MiB; leaves without a bit are left out:
//!
//! ```text
//!  0  8  magic "thaw-map"          64  …  leaves, ascending, each:
//!  8  4  version, 1                         0    8  number: it covers blocks number × 32768 ..
//! 12  4  block_bytes, 4096                  8 4096  bit i of byte j: block 8 × j + i of the leaf;
//! 16  8  disk_bytes                                 one is set, and none beyond the end
//! 24  8  number of leaves
//! 32 32  BLAKE3 of bytes 0..32 and all leaves
//! ```
//!
//! Numbers are little-endian. `disk_bytes` is at most [`MAX_DISK_BYTES`], so a bitmap file is at
//! most about 8 MiB.

mod bitmap;
mod blocks;
mod content;
mod error;
mod layered;
mod save;
mod sparse;

pub use error::{BitmapError, DiskError};
pub use layered::{LayerFiles, LayeredDisk};

pub(crate) use content::measure;

/// The unit of copy on write, in bytes.
pub const BLOCK_BYTES: u64 = 4096;
/// The largest disk, in bytes.
pub const MAX_DISK_BYTES: u64 = 256 << 30;
