//! The disk that the vmm's block device reads and writes.

use std::fs::File;
use std::io;

/// Why the disk could not be opened, read, written or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The guest asked for bytes beyond the end.
    #[error("bytes {offset}+{len} are beyond the disk's {disk_bytes}")]
    OutOfRange {
        /// First byte asked for.
        offset: u64,
        /// How many.
        len: u64,
        /// The disk's length.
        disk_bytes: u64,
    },
    /// The host's file system said no.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

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
/// All methods take `&self`; each is atomic for others on the same disk.
#[derive(Debug)]
pub struct LayeredDisk {}

impl LayeredDisk {
    /// Puts the layers together. `base` and `layer` are only read and may be shared; `overlay` is an
    /// empty file of this disk's own, open for reading and writing. Checks the layer's bitmap.
    pub fn open(
        _base: File,
        _layer: Option<LayerFiles>,
        _overlay: File,
    ) -> Result<Self, DiskError> {
        unimplemented!()
    }

    /// Bytes of the disk: the base's length.
    pub fn len(&self) -> u64 {
        unimplemented!()
    }

    /// Fills `buf` with the bytes at `offset`.
    pub fn read_at(&self, _offset: u64, _buf: &mut [u8]) -> Result<(), DiskError> {
        unimplemented!()
    }

    /// Writes all of `buf` at `offset`.
    pub fn write_at(&self, _offset: u64, _buf: &[u8]) -> Result<(), DiskError> {
        unimplemented!()
    }

    /// Makes the range read as zeros and gives back its space; serves both discard and write-zeroes.
    pub fn write_zeroes(&self, _offset: u64, _len: u64) -> Result<(), DiskError> {
        unimplemented!()
    }

    /// What a guest's flush asks for. The overlay never outlives the vmm that holds its bitmap, so there
    /// is nothing that a crash of the host could keep: this does no I/O.
    pub fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }

    /// Writes the snapshot's layer and the overlay, merged, to two empty files. Holes stay holes.
    pub fn save_layer(&self, _data: &File, _bitmap: &File) -> Result<(), DiskError> {
        unimplemented!()
    }
}
