//! The disk's features and configuration space.

use super::{BlockBackend, QUEUE_SIZE, SECTOR};

const F_SIZE_MAX: u64 = 1 << 1;
const F_SEG_MAX: u64 = 1 << 2;
const F_RO: u64 = 1 << 5;
const F_BLK_SIZE: u64 = 1 << 6;
const F_FLUSH: u64 = 1 << 9;
const F_DISCARD: u64 = 1 << 13;
const F_WRITE_ZEROES: u64 = 1 << 14;

/// Data buffers in one request: header and status take two descriptors of the queue.
const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;

/// Bytes in one data buffer.
const SIZE_MAX: u32 = 64 << 10;

/// Bytes that one request may move, which follows from the two above: nearly 16 MiB. (Linux makes
/// requests of at most 1.25 MiB unless told otherwise.) One that went on for gigabytes would hold
/// up every other device.
pub const MAX_REQUEST_BYTES: usize = (SEG_MAX * SIZE_MAX) as usize;

/// Sectors that one discard or write-zeroes range may have: 128 MiB, so that zeroing by hand
/// does not hold the event loop up for long.
pub const MAX_RANGE_SECTORS: u32 = (128 << 20) / SECTOR as u32;

/// Ranges in one discard or write-zeroes request.
pub const MAX_RANGES: u32 = 1;

/// Bytes of configuration space, up to and including `write_zeroes_may_unmap`.
const LEN: usize = 57;

/// The features to offer for a backend.
pub fn features(backend: &dyn BlockBackend) -> u64 {
    let common = F_SIZE_MAX | F_SEG_MAX | F_BLK_SIZE | F_FLUSH;
    match (backend.read_only(), backend.can_discard()) {
        (true, _) => common | F_RO,
        (false, true) => common | F_DISCARD | F_WRITE_ZEROES,
        (false, false) => common,
    }
}

/// Configuration space of a disk of so many sectors.
pub fn bytes(sectors: u64) -> [u8; LEN] {
    let mut config = [0; LEN];
    let mut put = |at: usize, value: u32| config[at..at + 4].copy_from_slice(&value.to_le_bytes());
    put(0, sectors as u32);
    put(4, (sectors >> 32) as u32);
    put(8, SIZE_MAX);
    put(12, SEG_MAX);
    put(20, SECTOR as u32);
    put(36, MAX_RANGE_SECTORS);
    put(40, MAX_RANGES);
    // Discards are best aligned to the pages of the host's file systems.
    put(44, 8);
    put(48, MAX_RANGE_SECTORS);
    put(52, MAX_RANGES);
    // Whatever is zeroed may be deallocated.
    config[56] = 1;
    config
}
