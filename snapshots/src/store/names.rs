//! Names of snapshots: symbolic links that are read but never followed.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{StoreError, files};
use crate::{SnapshotId, SnapshotName};

const DIRECTORY: &str = "names";
/// Not a name: it begins with a dot.
const TEMPORARY: &str = ".new";

/// The names of one directory of snapshots.
pub(super) struct Names {
    path: PathBuf,
}

impl Names {
    /// Those of the store's directory `path`.
    pub fn of(path: &Path) -> Self {
        Self {
            path: path.join(DIRECTORY),
        }
    }

    /// Makes the place for names.
    pub fn prepare(&self) -> Result<(), StoreError> {
        files::make_dirs(&self.path)
    }

    /// Who has the name. Anything that is not such a link counts as nobody.
    pub fn get(&self, name: &SnapshotName) -> Result<Option<SnapshotId>, StoreError> {
        let path = self.path.join(name.as_str());
        match fs::read_link(&path) {
            Ok(target) => Ok(target.to_str().and_then(|id| SnapshotId::new(id).ok())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(StoreError::io("read", &path)(error)),
        }
    }

    /// All names that belong to somebody.
    pub fn all(&self) -> Result<Vec<(SnapshotName, SnapshotId)>, StoreError> {
        let mut all = Vec::new();
        // A read-only store may have no names at all.
        if !self.path.is_dir() {
            return Ok(all);
        }
        for name in files::entries(&self.path)? {
            if let Ok(name) = SnapshotName::new(name)
                && let Some(id) = self.get(&name)?
            {
                all.push((name, id));
            }
        }
        Ok(all)
    }

    /// Gives the name to `id`, whoever has it, and takes away any other name of `id`.
    pub fn set(&self, name: &SnapshotName, id: &SnapshotId) -> Result<(), StoreError> {
        let temporary = self.path.join(TEMPORARY);
        remove(&temporary)?;
        symlink(id.as_str(), &temporary).map_err(StoreError::io("create", &temporary))?;
        files::rename(&temporary, &self.path.join(name.as_str()))?;
        self.remove_where(|other, holder| holder == id && other != name)
    }

    /// Takes away every name of `id`.
    pub fn clear(&self, id: &SnapshotId) -> Result<(), StoreError> {
        self.remove_where(|_, holder| holder == id)
    }

    /// Takes away the names of snapshots that are gone.
    pub fn clean(&self, exists: impl Fn(&SnapshotId) -> bool) -> Result<(), StoreError> {
        remove(&self.path.join(TEMPORARY))?;
        self.remove_where(|_, holder| !exists(holder))
    }

    fn remove_where(
        &self,
        doomed: impl Fn(&SnapshotName, &SnapshotId) -> bool,
    ) -> Result<(), StoreError> {
        for (name, id) in self.all()? {
            if doomed(&name, &id) {
                remove(&self.path.join(name.as_str()))?;
            }
        }
        files::sync(&self.path)
    }
}

/// `InvalidInput`: it is there and is not a link.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput
    )
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
