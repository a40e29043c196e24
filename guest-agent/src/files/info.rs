//! What is known about a file, for the wire.

use std::fs::{FileType, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use prost_types::Timestamp;
use protocol::types::v1 as wire;

use crate::status::PosixError;

/// Looks at a file.
pub(super) fn stat(path: &Path, follow: bool) -> Result<wire::FileInfo, PosixError> {
    let found = if follow {
        path.metadata()
    } else {
        path.symlink_metadata()
    };
    let metadata = found.map_err(PosixError::io("stat", path))?;
    Ok(describe(path, &metadata))
}

/// Describes a file whose metadata is at hand.
pub(super) fn describe(path: &Path, metadata: &Metadata) -> wire::FileInfo {
    let target = || std::fs::read_link(path).map(|target| target.to_string_lossy().into_owned());
    wire::FileInfo {
        r#type: file_type(metadata.file_type()).into(),
        size: metadata.size(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        modified_at: Some(timestamp(metadata.mtime(), metadata.mtime_nsec())),
        accessed_at: Some(timestamp(metadata.atime(), metadata.atime_nsec())),
        changed_at: Some(timestamp(metadata.ctime(), metadata.ctime_nsec())),
        inode: metadata.ino(),
        links: metadata.nlink(),
        symlink_target: if metadata.is_symlink() {
            target().unwrap_or_default()
        } else {
            String::new()
        },
        ..named(path)
    }
}

/// Says only which file is meant.
pub(super) fn named(path: &Path) -> wire::FileInfo {
    wire::FileInfo {
        path: path.to_string_lossy().into_owned(),
        raw_path: path.as_os_str().as_bytes().to_vec().into(),
        ..Default::default()
    }
}

fn file_type(kind: FileType) -> wire::FileType {
    match kind {
        kind if kind.is_file() => wire::FileType::Regular,
        kind if kind.is_dir() => wire::FileType::Directory,
        kind if kind.is_symlink() => wire::FileType::Symlink,
        kind if kind.is_fifo() => wire::FileType::Fifo,
        kind if kind.is_socket() => wire::FileType::Socket,
        kind if kind.is_char_device() => wire::FileType::CharDevice,
        kind if kind.is_block_device() => wire::FileType::BlockDevice,
        _ => wire::FileType::Unspecified,
    }
}

fn timestamp(seconds: i64, nanos: i64) -> Timestamp {
    Timestamp {
        seconds,
        nanos: i32::try_from(nanos).unwrap_or(0),
    }
}
