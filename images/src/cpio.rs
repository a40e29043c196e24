//! Writes an initramfs: a cpio archive in the "newc" format, uncompressed.
//!
//! Each entry is a header of thirteen 8-digit hexadecimal numbers, the name with a zero byte,
//! and the data, the last two padded to four bytes. All files belong to root and are dated
//! 1970, so that equal content makes equal archives.

use std::io::{self, Write};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const CHAR_DEVICE: u32 = 0o020_000;
const TRAILER: &str = "TRAILER!!!";

/// An archive that is being written to `W`. Parent directories are not made by themselves.
#[derive(Debug)]
pub struct Archive<W> {
    out: W,
    next_inode: u32,
}

impl<W: Write> Archive<W> {
    /// Starts an empty archive.
    pub fn new(out: W) -> Self {
        Self { out, next_inode: 1 }
    }

    /// Adds a directory with mode 0755.
    ///
    /// # Errors
    /// What `W` returns.
    pub fn directory(&mut self, path: &str) -> io::Result<()> {
        self.entry(path, DIRECTORY | 0o755, (0, 0), &[])
    }

    /// Adds a file.
    ///
    /// # Errors
    /// What `W` returns, and `InvalidInput` for a file of 4 GiB or more.
    pub fn file(&mut self, path: &str, permissions: u32, data: &[u8]) -> io::Result<()> {
        self.entry(path, REGULAR | permissions, (0, 0), data)
    }

    /// Adds a character device, readable and writable by root alone.
    ///
    /// # Errors
    /// What `W` returns.
    pub fn char_device(&mut self, path: &str, major: u32, minor: u32) -> io::Result<()> {
        self.entry(path, CHAR_DEVICE | 0o600, (major, minor), &[])
    }

    /// Writes the trailer and returns the writer.
    ///
    /// # Errors
    /// What `W` returns.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry(TRAILER, 0, (0, 0), &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), data: &[u8]) -> io::Result<()> {
        let name = path.trim_start_matches('/');
        let size = u32::try_from(data.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "file too large for cpio"))?;
        let inode = self.next_inode;
        self.next_inode += 1;
        // ino mode uid gid nlink mtime filesize dev-major dev-minor rdev-major rdev-minor namesize check
        let fields = [
            inode,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08x}"));
        }
        self.padded(&[header.as_bytes(), name.as_bytes(), &[0]])?;
        self.padded(&[data])
    }

    fn padded(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut length = 0;
        for part in parts {
            self.out.write_all(part)?;
            length += part.len();
        }
        self.out.write_all(&[0; 3][..length.wrapping_neg() % 4])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_to_four_bytes() {
        let mut archive = Archive::new(Vec::new());
        archive.directory("/dev").unwrap();
        archive.char_device("/dev/console", 5, 1).unwrap();
        archive.file("/init", 0o755, b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(
            bytes
                .windows(6)
                .filter(|window| window == b"070701")
                .count(),
            4
        );
    }
}
