//! What is told of a file.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::time::{Duration, SystemTime};

use humantime::format_rfc3339_millis;
use serde_json::{Value, json};

/// All that Deno's `FileInfo` has.
pub(super) fn info(metadata: &Metadata) -> Value {
    let kind = metadata.file_type();
    let modified = since(metadata.mtime(), metadata.mtime_nsec());
    json!({
        "isFile": kind.is_file(),
        "isDirectory": kind.is_dir(),
        "isSymlink": kind.is_symlink(),
        "size": metadata.len(),
        "mtime": modified,
        "atime": since(metadata.atime(), metadata.atime_nsec()),
        // Where a file system does not know it, a time has to be there all the same.
        "birthtime": metadata.created().map_or(modified, |at| format_rfc3339_millis(at).to_string()),
        "ctime": since(metadata.ctime(), metadata.ctime_nsec()),
        "mode": metadata.mode(),
        "dev": metadata.dev(),
        "ino": metadata.ino(),
        "nlink": metadata.nlink(),
        "uid": metadata.uid(),
        "gid": metadata.gid(),
        "rdev": metadata.rdev(),
        "blksize": metadata.blksize(),
        "blocks": metadata.blocks(),
        "isBlockDevice": kind.is_block_device(),
        "isCharDevice": kind.is_char_device(),
        "isFifo": kind.is_fifo(),
        "isSocket": kind.is_socket(),
    })
}

/// A time as JavaScript writes it. Times before 1970 are told as 1970.
fn since(seconds: i64, nanoseconds: i64) -> String {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let nanoseconds = u32::try_from(nanoseconds).unwrap_or(0);
    let since = Duration::new(seconds, nanoseconds.min(999_999_999));
    let at = SystemTime::UNIX_EPOCH.checked_add(since);
    // humantime writes four digits of a year.
    let last = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_799);
    format_rfc3339_millis(at.unwrap_or(last).min(last)).to_string()
}
