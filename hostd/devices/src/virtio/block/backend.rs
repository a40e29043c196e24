//! Where a disk's bytes are.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::fcntl::{FallocateFlags, fallocate};

/// Zeros written at a time where the backend knows no better way.
const ZEROS: [u8; 4096] = [0; 4096];

/// The store behind a disk. The device asks only for ranges within `len`, and neither writes
/// nor discards when it is read-only. Called on the event-loop thread.
#[expect(
    clippy::len_without_is_empty,
    reason = "an empty disk is nothing to ask about"
)]
pub trait BlockBackend: Send {
    /// Size in bytes; does not change.
    fn len(&self) -> u64;

    /// Whether writing is refused.
    fn read_only(&self) -> bool;

    /// Fills `data` from `offset` bytes on.
    ///
    /// # Errors
    /// The guest sees an I/O error.
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()>;

    /// Stores `data` at `offset` bytes.
    ///
    /// # Errors
    /// The guest sees an I/O error.
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes everything written so far as durable as this store promises.
    ///
    /// # Errors
    /// The guest sees an I/O error.
    fn flush(&mut self) -> io::Result<()>;

    /// Whether [`discard`](Self::discard) saves anything, and is to be offered to the guest.
    fn can_discard(&self) -> bool {
        false
    }

    /// The guest does not need these bytes any more; what it reads there next does not matter.
    ///
    /// # Errors
    /// The guest sees an I/O error.
    fn discard(&mut self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    /// Makes these bytes zero.
    ///
    /// # Errors
    /// The guest sees an I/O error.
    fn write_zeroes(&mut self, offset: u64, len: u64) -> io::Result<()> {
        let mut done = 0;
        while done < len {
            let piece = ZEROS
                .len()
                .min(usize::try_from(len - done).unwrap_or(usize::MAX));
            self.write_at(offset + done, &ZEROS[..piece])?;
            done += piece as u64;
        }
        Ok(())
    }
}

/// A disk that is a plain file. Its position is never used, so several processes may share the
/// descriptor of a read-only one.
#[derive(Debug)]
pub struct FileBackend {
    file: File,
    len: u64,
    read_only: bool,
}

impl FileBackend {
    /// A disk with the contents of `file`, as long as the file is now.
    ///
    /// # Errors
    /// When the file's length cannot be had.
    pub fn new(file: File, read_only: bool) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(Self {
            file,
            len,
            read_only,
        })
    }

    fn deallocate(&self, mode: FallocateFlags, offset: u64, len: u64) -> io::Result<()> {
        let range = (libc::off_t::try_from(offset), libc::off_t::try_from(len));
        let (Ok(offset), Ok(len)) = range else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok(fallocate(
            &self.file,
            mode | FallocateFlags::FALLOC_FL_KEEP_SIZE,
            offset,
            len,
        )?)
    }
}

impl BlockBackend for FileBackend {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(data, offset)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn can_discard(&self) -> bool {
        !self.read_only
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.deallocate(FallocateFlags::FALLOC_FL_PUNCH_HOLE, offset, len)
    }

    fn write_zeroes(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.deallocate(FallocateFlags::FALLOC_FL_ZERO_RANGE, offset, len)
            // Not every file system can; a hole reads as zeros, too.
            .or_else(|_| self.deallocate(FallocateFlags::FALLOC_FL_PUNCH_HOLE, offset, len))
    }
}
