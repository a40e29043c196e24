//! Making directories, links and temporary files, which belong to a user of the sandbox.

use std::fs::{self, DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use tonic::Status;

use super::path;
use crate::processes::Account;
use crate::status::{PosixError, invalid};

/// How often a temporary name is drawn before EEXIST is believed.
const ATTEMPTS: usize = 16;

/// Validates permission bits.
pub(super) fn mode(field: &str, mode: u32) -> Result<u32, Status> {
    match mode {
        0..=0o7777 => Ok(mode),
        _ => Err(invalid(field, "more than 0o7777")),
    }
}

/// Makes one directory.
pub(super) fn directory(path: &Path, mode: u32, owner: &Account) -> Result<(), PosixError> {
    let made = DirBuilder::new().mode(mode).create(path);
    made.map_err(PosixError::io("mkdir", path))?;
    own(path, owner)?;
    // mkdir(2) takes no set-id bits and heeds the umask.
    let permissions = Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).map_err(PosixError::io("chmod", path))
}

/// Makes a directory and those above it that are missing. One that exists is no error and stays as it is.
pub(super) fn directories(path: &Path, mode: u32, owner: &Account) -> Result<(), PosixError> {
    let mut missing = Vec::new();
    for ancestor in path.ancestors() {
        match ancestor.metadata() {
            Ok(found) if found.is_dir() => break,
            Ok(_) => return Err(PosixError::new("mkdir", ancestor, Errno::ENOTDIR)),
            Err(_) => missing.push(ancestor),
        }
    }
    for ancestor in missing.into_iter().rev() {
        let mode = if ancestor == path { mode } else { 0o755 };
        match directory(ancestor, mode, owner) {
            // Someone else was faster.
            Err(error) if error.errno == Errno::EEXIST && ancestor.is_dir() => {}
            result => result?,
        }
    }
    Ok(())
}

/// Makes a symbolic link.
pub(super) fn symlink(target: &str, path: &Path, owner: &Account) -> Result<(), PosixError> {
    std::os::unix::fs::symlink(target, path).map_err(PosixError::io("symlink", path))?;
    own(path, owner)
}

/// Makes a file (0600) or directory (0700) with a name that nobody has.
pub(super) fn temporary(
    directory: &Path,
    prefix: &str,
    suffix: &str,
    is_directory: bool,
    owner: &Account,
) -> Result<PathBuf, PosixError> {
    for _ in 0..ATTEMPTS {
        let path = directory.join(format!("{prefix}{}{suffix}", path::random_name()?));
        let made = if is_directory {
            DirBuilder::new().mode(0o700).create(&path)
        } else {
            let mut new = File::options();
            new.write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .map(drop)
        };
        match made {
            Ok(()) => return own(&path, owner).map(|()| path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(PosixError::io("mktemp", &path)(error)),
        }
    }
    Err(PosixError::new("mktemp", directory, Errno::EEXIST))
}

fn own(path: &Path, owner: &Account) -> Result<(), PosixError> {
    lchown(path, Some(owner.uid.as_raw()), Some(owner.gid.as_raw()))
        .map_err(PosixError::io("chown", path))
}
