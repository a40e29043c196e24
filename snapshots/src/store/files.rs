//! The few things that a store does to files and directories.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use super::StoreError;
use crate::Digest;

/// Guest memory is as secret as what ran in the guest: nobody else may look.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const MEMORY: &str = "memory";
pub(super) const STATE: &str = "state";

/// The data file's name of the layer of the disk at position `disk`.
pub(super) fn layer(disk: u32) -> String {
    format!("disk-{disk}.layer")
}

/// Its bitmap's.
pub(super) fn bitmap(disk: u32) -> String {
    format!("disk-{disk}.bitmap")
}

/// Makes a directory that must not exist.
pub(super) fn make_dir(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .mode(DIR_MODE)
        .create(path)
        .map_err(StoreError::io("create", path))
}

/// Makes a directory and its parents, where they are missing.
pub(super) fn make_dirs(path: &Path) -> Result<(), StoreError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(DIR_MODE);
    builder.create(path).map_err(StoreError::io("create", path))
}

/// Makes a file that must not exist.
pub(super) fn create(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
        .map_err(StoreError::io("create", path))
}

/// Opens a file for reading.
pub(super) fn open(path: &Path) -> Result<File, StoreError> {
    // A snapshot's files are regular; opening anything else must not block, and reading it fails.
    OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)
        .map_err(StoreError::io("open", path))
}

/// Makes a file's or a directory's content survive a crash.
pub(super) fn sync(path: &Path) -> Result<(), StoreError> {
    let sync = || File::open(path)?.sync_all();
    sync().map_err(StoreError::io("sync", path))
}

/// Renames atomically.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(StoreError::io("rename", from))
}

/// Removes a directory and all in it; one that is gone is fine.
pub(super) fn remove_dir(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Names of a directory's entries; those that are not UTF-8 cannot be ours.
pub(super) fn entries(path: &Path) -> Result<Vec<String>, StoreError> {
    let list = || -> io::Result<Vec<_>> {
        fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name().into_string().ok()))
            .collect()
    };
    let names = list().map_err(StoreError::io("list", path))?;
    Ok(names.into_iter().flatten().collect())
}

/// Size and digest of a whole file that may not be longer than `most`, which bounds what is read
/// when the file is not what it should be.
pub(super) fn digest(file: &File, most: u64) -> io::Result<(u64, Digest)> {
    let mut hasher = blake3::Hasher::new();
    let mut buf = vec![0; 64 << 10];
    let mut size = 0;
    while size <= most {
        let read = match file.read_at(&mut buf, size) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(buf.get(..read).unwrap_or_default());
        size += read as u64;
    }
    Ok((size, hasher.finalize().into()))
}
