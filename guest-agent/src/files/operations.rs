//! The operations that need no stream. All block.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, lchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use protocol::types::v1::file_operation::{
    Copy, MakeDir, MakeTemp, Operation, Remove, Rename, SetMode, SetOwner, Stat, Symlink, Truncate,
};
use protocol::types::v1::{FileInfo, FileResult};
use tonic::Status;

use super::{copy, info, make, path};
use crate::processes::Accounts;
use crate::status::{PosixError, invalid};

/// The longest prefix or suffix of a temporary name, in bytes: with the random part a name stays below 255.
const MAX_AFFIX_BYTES: usize = 100;

/// The largest file that Linux knows, in bytes.
const MAX_FILE_BYTES: u64 = i64::MAX.unsigned_abs();

/// Does it, and looks at the file that it was about.
pub(super) fn perform(operation: Operation, accounts: &Accounts) -> Result<FileResult, Status> {
    let info = match operation {
        Operation::Stat(request) => stat(&request)?,
        Operation::MakeDir(request) => make_dir(&request, accounts)?,
        Operation::Remove(request) => remove(&request)?,
        Operation::Rename(request) => rename(&request)?,
        Operation::Copy(request) => copy_file(&request)?,
        Operation::SetMode(request) => set_mode(&request)?,
        Operation::SetOwner(request) => set_owner(&request)?,
        Operation::Symlink(request) => symlink(&request, accounts)?,
        Operation::Truncate(request) => truncate(&request)?,
        Operation::MakeTemp(request) => make_temp(&request, accounts)?,
    };
    Ok(FileResult { info: Some(info) })
}

fn stat(request: &Stat) -> Result<FileInfo, Status> {
    let path = path::absolute("stat.path", &request.path)?;
    Ok(info::stat(&path, !request.no_follow)?)
}

fn make_dir(request: &MakeDir, accounts: &Accounts) -> Result<FileInfo, Status> {
    let path = path::absolute("make_dir.path", &request.path)?;
    let mode = make::mode("make_dir.mode", request.mode.unwrap_or(0o755))?;
    let owner = accounts.find("")?;
    match request.recursive {
        true => make::directories(&path, mode, &owner)?,
        false => make::directory(&path, mode, &owner)?,
    }
    Ok(info::stat(&path, true)?)
}

fn remove(request: &Remove) -> Result<FileInfo, Status> {
    let path = path::absolute("remove.path", &request.path)?;
    let found = path
        .symlink_metadata()
        .map_err(PosixError::io("stat", &path))?;
    if !found.is_dir() {
        fs::remove_file(&path).map_err(PosixError::io("unlink", &path))?;
    } else if !request.recursive {
        fs::remove_dir(&path).map_err(PosixError::io("rmdir", &path))?;
    } else if is_root(&path) {
        // Everything below it would be gone before the kernel refused this one.
        return Err(PosixError::new("rmdir", path, Errno::EBUSY).into());
    } else {
        fs::remove_dir_all(&path).map_err(PosixError::io("rmdir", &path))?;
    }
    Ok(info::named(&path))
}

fn is_root(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| path == Path::new("/"))
}

fn rename(request: &Rename) -> Result<FileInfo, Status> {
    let from = path::absolute("rename.from", &request.from)?;
    let to = path::absolute("rename.to", &request.to)?;
    fs::rename(&from, &to).map_err(PosixError::io("rename", &from))?;
    Ok(info::stat(&to, false)?)
}

fn copy_file(request: &Copy) -> Result<FileInfo, Status> {
    let from = path::absolute("copy.from", &request.from)?;
    let to = path::absolute("copy.to", &request.to)?;
    let made = copy::copy(&from, to)?;
    Ok(info::stat(&made, false)?)
}

fn set_mode(request: &SetMode) -> Result<FileInfo, Status> {
    let path = path::absolute("set_mode.path", &request.path)?;
    let mode = make::mode("set_mode.mode", request.mode)?;
    fs::set_permissions(&path, Permissions::from_mode(mode))
        .map_err(PosixError::io("chmod", &path))?;
    Ok(info::stat(&path, true)?)
}

fn set_owner(request: &SetOwner) -> Result<FileInfo, Status> {
    let path = path::absolute("set_owner.path", &request.path)?;
    // The kernel takes the highest number for "no change", which has a field of its own here.
    if request.uid == Some(u32::MAX) || request.gid == Some(u32::MAX) {
        return Err(invalid("set_owner", "4294967295 is no user and no group"));
    }
    let result = match request.no_follow {
        true => lchown(&path, request.uid, request.gid),
        false => chown(&path, request.uid, request.gid),
    };
    result.map_err(PosixError::io("chown", &path))?;
    Ok(info::stat(&path, !request.no_follow)?)
}

fn symlink(request: &Symlink, accounts: &Accounts) -> Result<FileInfo, Status> {
    let path = path::absolute("symlink.path", &request.path)?;
    if request.target.contains('\0') {
        return Err(invalid("symlink.target", "holds a zero byte"));
    }
    make::symlink(&request.target, &path, &accounts.find("")?)?;
    Ok(info::stat(&path, false)?)
}

fn truncate(request: &Truncate) -> Result<FileInfo, Status> {
    let path = path::absolute("truncate.path", &request.path)?;
    if request.size > MAX_FILE_BYTES {
        return Err(invalid("truncate.size", "more than a file can have"));
    }
    let file = path::open_regular(File::options().write(true), &path)?;
    file.set_len(request.size)
        .map_err(PosixError::io("truncate", &path))?;
    Ok(info::stat(&path, true)?)
}

fn make_temp(request: &MakeTemp, accounts: &Accounts) -> Result<FileInfo, Status> {
    let directory = match request.directory.as_str() {
        "" => PathBuf::from("/tmp"),
        directory => path::absolute("make_temp.directory", directory)?,
    };
    for (field, affix) in [("prefix", &request.prefix), ("suffix", &request.suffix)] {
        if affix.contains(['/', '\0']) || affix.len() > MAX_AFFIX_BYTES {
            return Err(invalid(
                &format!("make_temp.{field}"),
                "not part of a file name, or too long",
            ));
        }
    }
    let owner = accounts.find("")?;
    let (prefix, suffix) = (&request.prefix, &request.suffix);
    let made = make::temporary(&directory, prefix, suffix, request.is_directory, &owner)?;
    Ok(info::stat(&made, false)?)
}
