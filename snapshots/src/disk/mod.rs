//! A writable disk in three layers.

mod layered;

pub use layered::{DiskError, LayerFiles, LayeredDisk};

/// The unit of copy on write, in bytes.
pub const BLOCK_BYTES: u64 = 4096;
/// The largest disk, in bytes.
pub const MAX_DISK_BYTES: u64 = 256 << 30;
