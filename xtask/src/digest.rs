//! SHA-256 of bytes and files, in hexadecimal.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use nix::{
    errno::Errno,
    unistd::{Whence, lseek},
};
use sha2::{Digest, Sha256};

/// The digest of `bytes`.
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_slice())
}

/// The digest of several strings, each told apart from the next.
pub fn of_parts<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hex(hasher.finalize().as_slice())
}

/// The digest of a file: of where its data lies, and of that data. Holes are not read, so a
/// large sparse file costs little.
///
/// # Errors
/// When it cannot be read.
pub fn of_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = i64::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut hasher = Sha256::new();
    hasher.update(length.to_le_bytes());
    let mut end = 0;
    while let Some(start) = seek(&file, end, Whence::SeekData)? {
        end = seek(&file, start, Whence::SeekHole)?.unwrap_or(length);
        hasher.update(start.to_le_bytes());
        file.seek(SeekFrom::Start(start as u64))?;
        io::copy(&mut (&file).take((end - start) as u64), &mut hasher)?;
    }
    Ok(hex(hasher.finalize().as_slice()))
}

/// Where the next data or hole is at or after `offset`; `None` when there is none.
fn seek(file: &File, offset: i64, what: Whence) -> io::Result<Option<i64>> {
    match lseek(file, offset, what) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENXIO) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
