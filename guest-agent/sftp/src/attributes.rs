//! What is known of a file, as SFTP says it, and changed as it asks.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use russh_sftp::protocol::FileAttributes;

/// Of a file's metadata. Times that do not fit are the earliest or the latest that do.
pub(crate) fn of(metadata: &Metadata) -> FileAttributes {
    let seconds = |time: i64| u32::try_from(time.max(0)).unwrap_or(u32::MAX);
    FileAttributes {
        size: Some(metadata.len()),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
        permissions: Some(metadata.mode()),
        atime: Some(seconds(metadata.atime())),
        mtime: Some(seconds(metadata.mtime())),
        ..FileAttributes::default()
    }
}

/// The bits of a mode that may be set.
pub(crate) fn mode(attributes: &FileAttributes) -> Option<u32> {
    attributes.permissions.map(|mode| mode & 0o7777)
}

/// Changes those that are there.
pub(crate) fn apply(path: &Path, wanted: &FileAttributes) -> io::Result<()> {
    if let Some(size) = wanted.size {
        fs::OpenOptions::new()
            .write(true)
            .open(path)?
            .set_len(size)?;
    }
    if wanted.uid.is_some() || wanted.gid.is_some() {
        chown(path, wanted.uid, wanted.gid)?;
    }
    // After the owner, whose change takes some bits away.
    if let Some(mode) = mode(wanted) {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    if let (Some(atime), Some(mtime)) = (wanted.atime, wanted.mtime) {
        let time = |seconds: u32| TimeSpec::new(seconds.into(), 0);
        let flags = UtimensatFlags::FollowSymlink;
        utimensat(
            nix::fcntl::AT_FDCWD,
            path,
            &time(atime),
            &time(mtime),
            flags,
        )?;
    }
    Ok(())
}
