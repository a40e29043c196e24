//! Paths from the wire, and opening them without being caught by what lies there.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use tonic::Status;

use crate::status::{PosixError, invalid};

/// The longest path that Linux takes, in bytes.
const MAX_PATH_BYTES: usize = 4096;

/// Links in a row that Linux follows.
const MAX_LINKS: usize = 40;

/// Validates a path: absolute, without zero bytes, not too long.
pub(super) fn absolute(field: &str, path: &str) -> Result<PathBuf, Status> {
    if !path.starts_with('/') {
        return Err(invalid(field, "not an absolute path"));
    }
    if path.contains('\0') {
        return Err(invalid(field, "holds a zero byte"));
    }
    let path = PathBuf::from(path);
    if path.as_os_str().len() >= MAX_PATH_BYTES {
        return Err(PosixError::new("path", path, Errno::ENAMETOOLONG).into());
    }
    Ok(path)
}

/// Opens a regular file. `O_NONBLOCK` keeps the open itself from waiting, for the other end of a FIFO for example;
/// regular files do not know it.
///
/// # Errors
/// EISDIR for a directory, EINVAL for anything else that is not a regular file.
pub(super) fn open_regular(options: &mut OpenOptions, path: &Path) -> Result<File, PosixError> {
    let opened = options
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) => {
            let errno = crate::status::errno_of(&error);
            // A FIFO without reader (ENXIO), a socket, a device without driver.
            let special = std::fs::metadata(path).is_ok_and(|found| is_special(found.file_type()));
            let errno = if special { Errno::EINVAL } else { errno };
            return Err(PosixError::new("open", path, errno));
        }
    };
    let kind = file
        .metadata()
        .map_err(PosixError::io("fstat", path))?
        .file_type();
    match () {
        () if kind.is_file() => Ok(file),
        () if kind.is_dir() => Err(PosixError::new("open", path, Errno::EISDIR)),
        () => Err(PosixError::new("open", path, Errno::EINVAL)),
    }
}

fn is_special(kind: std::fs::FileType) -> bool {
    kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device()
}

/// Where a write to `path` would go: the end of a chain of symbolic links, which need not exist.
pub(super) fn follow_links(path: PathBuf) -> Result<PathBuf, PosixError> {
    let mut at = path;
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&at) {
            // A relative target starts at the link's directory; an absolute one replaces all.
            Ok(target) => at = at.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => return Ok(at),
        }
    }
    Err(PosixError::new("readlink", at, Errno::ELOOP))
}

/// A name beside `path` that nobody else uses.
pub(super) fn beside(path: &Path) -> Result<PathBuf, PosixError> {
    let mut name = std::ffi::OsString::from(".thaw-");
    name.push(random_name()?);
    Ok(path.with_file_name(name))
}

/// Sixteen random hexadecimal digits from the kernel, which a restored clone draws anew.
pub(super) fn random_name() -> Result<String, PosixError> {
    let bits = getrandom::u64().map_err(|_| PosixError::new("getrandom", "", Errno::EIO))?;
    Ok(format!("{bits:016x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_absolute_paths_of_a_sane_length() {
        for path in ["", "relative", "/zero\0byte"] {
            assert!(absolute("path", path).is_err(), "{path:?}");
        }
        assert!(absolute("path", &format!("/{}", "x".repeat(5000))).is_err());
        assert!(absolute("path", "/fine/../too").is_ok());
    }

    #[test]
    fn links_are_followed_to_where_they_point_and_loops_end() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        symlink("second", at("first")).unwrap();
        symlink("missing", at("second")).unwrap();
        symlink("loop", at("loop")).unwrap();
        assert_eq!(follow_links(at("first")).unwrap(), at("missing"));
        assert_eq!(follow_links(at("loop")).unwrap_err().errno, Errno::ELOOP);
    }
}
