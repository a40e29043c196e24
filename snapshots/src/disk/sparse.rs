//! Sparse files: finding their data, copying it, and making holes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, copy_file_range, fallocate};
use nix::unistd::{Whence, lseek};

/// What is copied at once where the kernel cannot do it by itself.
const COPY_BYTES: usize = 256 << 10;

/// The first part of `range` that may hold data; the rest before it is a hole.
///
/// Moves the file's offset, which nobody here uses.
pub(super) fn next_data(file: &File, range: Range<u64>) -> io::Result<Option<Range<u64>>> {
    if range.is_empty() {
        return Ok(None);
    }
    let start = match lseek(file, range.start as i64, Whence::SeekData) {
        Ok(start) => start as u64,
        Err(Errno::ENXIO) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if start >= range.end {
        return Ok(None);
    }
    let end = lseek(file, start as i64, Whence::SeekHole)? as u64;
    // Another process may have punched a hole between the two calls: go on by one byte at least.
    Ok(Some(start..end.min(range.end).max(start + 1)))
}

/// Copies the data of `range` to the same place of another file, where there must be a hole; holes
/// stay holes.
pub(super) fn copy(from: &File, to: &File, range: Range<u64>) -> io::Result<()> {
    let mut at = range.start;
    while let Some(data) = next_data(from, at..range.end)? {
        at = data.end;
        copy_data(from, to, data)?;
    }
    Ok(())
}

fn copy_data(from: &File, to: &File, mut data: Range<u64>) -> io::Result<()> {
    while !data.is_empty() {
        let (mut source, mut target) = (data.start as i64, data.start as i64);
        let len = (data.end - data.start) as usize;
        match copy_file_range(from, Some(&mut source), to, Some(&mut target), len) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(copied) => data.start += copied as u64,
            Err(Errno::EINTR) => {}
            // Different or unable file systems.
            Err(Errno::EXDEV | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {
                return copy_by_hand(from, to, data);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &File, to: &File, mut data: Range<u64>) -> io::Result<()> {
    let mut buf = vec![0; COPY_BYTES];
    while !data.is_empty() {
        let len = (data.end - data.start).min(COPY_BYTES as u64);
        let part = buf.get_mut(..len as usize).unwrap_or_default();
        from.read_exact_at(part, data.start)?;
        to.write_all_at(part, data.start)?;
        data.start += len;
    }
    Ok(())
}

/// Makes `range` a hole; the file's length stays. Needs a file system that can: ext4, XFS, btrfs
/// and tmpfs do.
pub(super) fn punch(file: &File, range: Range<u64>) -> io::Result<()> {
    let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    let len = range.end - range.start;
    loop {
        match fallocate(file, flags, range.start as i64, len as i64) {
            Err(Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn copying_keeps_holes() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        for file in [&from, &to] {
            file.set_len(64 * MIB).unwrap();
        }
        from.write_all_at(&[7; 10_000], 5 * MIB + 4096).unwrap();
        from.write_all_at(&[8; 10_000], 50 * MIB).unwrap();
        copy(&from, &to, 4 * MIB..64 * MIB).unwrap();
        let mut buf = vec![0; 10_000];
        to.read_exact_at(&mut buf, 5 * MIB + 4096).unwrap();
        assert_eq!(buf, [7; 10_000]);
        let data = next_data(&to, 6 * MIB..64 * MIB).unwrap().unwrap();
        assert_eq!(data.start, 50 * MIB);
        assert_eq!(next_data(&to, 51 * MIB..64 * MIB).unwrap(), None);
    }

    #[test]
    fn copying_by_hand_is_the_same() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let bytes: Vec<u8> = (0..COPY_BYTES + 9).map(|n| n as u8).collect();
        from.write_all_at(&bytes, 0).unwrap();
        copy_by_hand(&from, &to, 3..bytes.len() as u64).unwrap();
        let mut buf = vec![0; bytes.len() - 3];
        to.read_exact_at(&mut buf, 3).unwrap();
        assert_eq!(buf, bytes[3..]);
    }
}
