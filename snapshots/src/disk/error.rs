//! What can be wrong with a disk and its layers.

use std::io;

use super::bitmap::VERSION;
use super::{BLOCK_BYTES, MAX_DISK_BYTES};

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
    /// The base file is empty or too large.
    #[error("a base of {found} bytes: need 1..={MAX_DISK_BYTES}")]
    BaseBytes {
        /// Bytes of the base file.
        found: u64,
    },
    /// A file that must be empty is not.
    #[error("the {file} is not empty: {found} bytes")]
    NotEmpty {
        /// Which file.
        file: &'static str,
        /// Bytes of the file.
        found: u64,
    },
    /// The layer was saved from a disk of another length.
    #[error("the layer is of a disk of {layer} bytes, the base has {base}")]
    LayerOfOtherDisk {
        /// The disk's length that the bitmap names.
        layer: u64,
        /// Bytes of the base file.
        base: u64,
    },
    /// The layer's data file was cut, or something was appended.
    #[error("a layer of {expected} bytes has {found}")]
    LayerBytes {
        /// What the disk's length gives.
        expected: u64,
        /// Bytes of the data file.
        found: u64,
    },
    /// The layer's bitmap is damaged.
    #[error("cannot use the layer's bitmap")]
    Bitmap(#[from] BitmapError),
    /// The host's file system said no.
    #[error("cannot {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl DiskError {
    /// For `map_err`.
    pub(super) fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }
}

/// Why a bitmap file was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BitmapError {
    /// The file could not be read.
    #[error("cannot read the bitmap file")]
    Io(#[source] io::Error),
    /// Shorter than its header.
    #[error("a bitmap file of {found} bytes is shorter than its header")]
    TooShort {
        /// Bytes of the file.
        found: u64,
    },
    /// Not a bitmap file.
    #[error("not a bitmap file: it begins with {found:02x?}")]
    Magic {
        /// Its first bytes.
        found: [u8; 8],
    },
    /// Another version of Thaw wrote it.
    #[error("bitmap format {found}; this Thaw reads format {VERSION}")]
    Version {
        /// The version that the file names.
        found: u32,
    },
    /// Other blocks than this version's.
    #[error("a bitmap of blocks of {found} bytes, not {BLOCK_BYTES}")]
    BlockBytes {
        /// What the file says.
        found: u32,
    },
    /// No disk is so long.
    #[error("a bitmap of a disk of {found} bytes: need 1..={MAX_DISK_BYTES}")]
    DiskBytes {
        /// What the file says.
        found: u64,
    },
    /// The file was cut, or something was appended.
    #[error("a bitmap file of {leaves} leaves cannot have {found} bytes")]
    Length {
        /// What the header says.
        leaves: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The bytes are damaged.
    #[error("the bitmap does not have the digest in its header")]
    Digest,
    /// A leaf says something impossible.
    #[error("leaf {number} of the bitmap {problem}")]
    Leaf {
        /// Its number.
        number: u64,
        /// What is wrong.
        problem: &'static str,
    },
}
