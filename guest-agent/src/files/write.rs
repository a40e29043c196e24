//! Writing a file from a stream.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use protocol::types::v1::{WriteFile, WriteMode};
use tonic::Status;

use super::replacement::Replacement;
use super::{make, path};
use crate::processes::{Account, Accounts};
use crate::status::{PosixError, invalid};

/// Permissions of a new file when none are asked for.
const DEFAULT_MODE: u32 = 0o644;

/// A file being written. Dropped before [`Writer::finish`], a replacement or new file leaves nothing behind; what
/// was appended or written in place stays.
pub(super) struct Writer {
    target: Target,
    written: u64,
}

enum Target {
    Beside {
        file: Replacement,
        owner: (u32, u32),
        mode: u32,
        only_new: bool,
    },
    InPlace {
        file: File,
        path: PathBuf,
    },
}

impl Writer {
    /// Validates the request and opens the file. Blocks.
    pub(super) fn open(request: &WriteFile, accounts: &Accounts) -> Result<Self, Status> {
        let path = path::absolute("path", &request.path)?;
        let mode = request
            .mode
            .map(|mode| make::mode("mode", mode))
            .transpose()?;
        let write_mode = WriteMode::try_from(request.write_mode)
            .map_err(|_| invalid("write_mode", "unknown mode"))?;
        if request.offset != 0 && write_mode != WriteMode::At {
            return Err(invalid("offset", "only with WRITE_MODE_AT"));
        }
        let account = accounts.find(&request.user)?;
        if request.make_parents
            && let Some(parent) = path.parent()
        {
            make::directories(parent, 0o755, &account)?;
        }
        let target = match write_mode {
            WriteMode::Unspecified | WriteMode::Replace => replace(path, mode, &account, request)?,
            WriteMode::CreateNew => create_new(path, mode, &account)?,
            WriteMode::Append => in_place(path, mode, &account, None)?,
            WriteMode::At => in_place(path, mode, &account, Some(request.offset))?,
        };
        Ok(Self { target, written: 0 })
    }

    /// Writes one piece. Blocks.
    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), PosixError> {
        let (file, path) = match &mut self.target {
            Target::Beside { file, .. } => {
                let place = file.place().to_owned();
                (file.file(), place)
            }
            Target::InPlace { file, path } => (file, path.clone()),
        };
        file.write_all(data)
            .map_err(PosixError::io("write", &path))?;
        self.written += data.len() as u64;
        Ok(())
    }

    /// Puts the file in place; answers how many bytes were written. Blocks.
    pub(super) fn finish(self) -> Result<u64, PosixError> {
        if let Target::Beside {
            file,
            owner,
            mode,
            only_new,
        } = self.target
        {
            file.commit(owner, mode, only_new)?;
        }
        Ok(self.written)
    }
}

/// A file that is there keeps its owner and permissions unless the request says otherwise; a symbolic link keeps
/// pointing at what is replaced.
fn replace(
    path: PathBuf,
    mode: Option<u32>,
    account: &Account,
    request: &WriteFile,
) -> Result<Target, PosixError> {
    let path = path::follow_links(path)?;
    let mut owner = ids(account);
    let mut old_mode = None;
    if let Ok(old) = path.symlink_metadata() {
        if !old.is_file() {
            let errno = if old.is_dir() {
                Errno::EISDIR
            } else {
                Errno::EINVAL
            };
            return Err(PosixError::new("open", path, errno));
        }
        old_mode = Some(old.mode() & 0o7777);
        if request.user.is_empty() {
            owner = (old.uid(), old.gid());
        }
    }
    refuse_directory_name(&path)?;
    let mode = mode.or(old_mode).unwrap_or(DEFAULT_MODE);
    Ok(Target::Beside {
        file: Replacement::create(path)?,
        owner,
        mode,
        only_new: false,
    })
}

fn create_new(path: PathBuf, mode: Option<u32>, account: &Account) -> Result<Target, PosixError> {
    if path.symlink_metadata().is_ok() {
        return Err(PosixError::new("open", path, Errno::EEXIST));
    }
    refuse_directory_name(&path)?;
    let mode = mode.unwrap_or(DEFAULT_MODE);
    let owner = ids(account);
    Ok(Target::Beside {
        file: Replacement::create(path)?,
        owner,
        mode,
        only_new: true,
    })
}

/// `/a/b/` names a directory, whatever is there; `Path` would forget the slash.
fn refuse_directory_name(path: &Path) -> Result<(), PosixError> {
    let ends = path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.file_name().is_none();
    if ends {
        Err(PosixError::new("open", path, Errno::EISDIR))
    } else {
        Ok(())
    }
}

fn in_place(
    path: PathBuf,
    mode: Option<u32>,
    account: &Account,
    offset: Option<u64>,
) -> Result<Target, PosixError> {
    let mut new = File::options();
    new.create_new(true);
    access(&mut new, offset);
    let (mut file, made) = match path::open_regular(&mut new, &path) {
        Ok(file) => (file, true),
        Err(error) if error.errno == Errno::EEXIST || error.errno == Errno::EINVAL => {
            let mut old = File::options();
            access(&mut old, offset);
            // Through a link that points nowhere, this is where the file is made.
            old.create(true);
            (path::open_regular(&mut old, &path)?, false)
        }
        Err(error) => return Err(error),
    };
    if made {
        let (uid, gid) = ids(account);
        fchown(&file, Some(uid), Some(gid)).map_err(PosixError::io("chown", &path))?;
        let mode = std::fs::Permissions::from_mode(mode.unwrap_or(DEFAULT_MODE));
        file.set_permissions(mode)
            .map_err(PosixError::io("chmod", &path))?;
    }
    if let Some(offset) = offset {
        file.seek(SeekFrom::Start(offset))
            .map_err(PosixError::io("lseek", &path))?;
    }
    Ok(Target::InPlace { file, path })
}

fn access(options: &mut std::fs::OpenOptions, offset: Option<u64>) {
    match offset {
        Some(_) => options.write(true),
        None => options.append(true),
    };
}

fn ids(account: &Account) -> (u32, u32) {
    (account.uid.as_raw(), account.gid.as_raw())
}
