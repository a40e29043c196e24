//! A file that is written beside its place and put there when it is complete.

use std::fs::File;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::path;
use crate::status::PosixError;

/// A file under a temporary name. Unless it is put in place, dropping it removes it.
pub(super) struct Replacement {
    file: File,
    temporary: PathBuf,
    place: PathBuf,
    placed: bool,
}

impl Replacement {
    /// Makes an empty one beside `place`, readable to nobody else until it is put there.
    pub(super) fn create(place: PathBuf) -> Result<Self, PosixError> {
        let temporary = path::beside(&place)?;
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(PosixError::io("open", &place))?;
        Ok(Self {
            file,
            temporary,
            place,
            placed: false,
        })
    }

    /// The open file.
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Where it goes.
    pub(super) fn place(&self) -> &Path {
        &self.place
    }

    /// Sets owner and permissions, then puts it in place of whatever file is there, or, with `only_new`,
    /// fails with EEXIST if there is any.
    pub(super) fn commit(
        mut self,
        owner: (u32, u32),
        mode: u32,
        only_new: bool,
    ) -> Result<PathBuf, PosixError> {
        let (uid, gid) = owner;
        fchown(&self.file, Some(uid), Some(gid)).map_err(self.failed("chown"))?;
        // After the owner: a change of owner clears set-id bits.
        let mode = std::fs::Permissions::from_mode(mode);
        self.file
            .set_permissions(mode)
            .map_err(self.failed("chmod"))?;
        let flags = if only_new {
            RenameFlags::RENAME_NOREPLACE
        } else {
            RenameFlags::empty()
        };
        renameat2(AT_FDCWD, &self.temporary, AT_FDCWD, &self.place, flags)
            .map_err(PosixError::sys("rename", &self.place))?;
        self.placed = true;
        Ok(self.place.clone())
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> PosixError {
        PosixError::io(operation, &self.place)
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.placed {
            let _ = std::fs::remove_file(&self.temporary);
        }
    }
}
