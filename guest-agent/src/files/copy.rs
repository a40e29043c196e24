//! Copying one regular file.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::path;
use super::replacement::Replacement;
use crate::status::PosixError;

/// Copies content, permissions and owner. The copy appears when it is complete, so that a file may be copied onto
/// itself and a full disk leaves no half of one.
pub(super) fn copy(from: &Path, to: PathBuf) -> Result<PathBuf, PosixError> {
    let mut source = path::open_regular(File::options().read(true), from)?;
    let metadata = source.metadata().map_err(PosixError::io("fstat", from))?;
    let to = path::follow_links(to)?;
    if to.symlink_metadata().is_ok_and(|found| found.is_dir()) || to.file_name().is_none() {
        return Err(PosixError::new("open", to, Errno::EISDIR));
    }
    let mut copy = Replacement::create(to)?;
    io::copy(&mut source, copy.file()).map_err(PosixError::io("copy", from))?;
    copy.commit(
        (metadata.uid(), metadata.gid()),
        metadata.mode() & 0o7777,
        false,
    )
}
