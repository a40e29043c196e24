//! The host's key of sealed secrets: made once, and kept where only hostd reads it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use egress::secrets::sealed::{KeyError, SealingKey};
use zeroize::Zeroizing;

/// More than any key has.
const LONGEST: u64 = 64;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SealingKeyError {
    /// The file cannot be read or written.
    #[error("cannot use {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Others can read what is in it.
    #[error(
        "{0} can be read by others: seal every secret again after removing it, or `chmod 600` it if nobody has read it"
    )]
    Open(PathBuf),
    /// Something else is in it.
    #[error("{path} is no key; put the right file there, or remove it and seal every secret again")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// The system has none.
    #[error("no random bytes")]
    Random,
}

/// The key in this file; a fresh one, if there is none.
///
/// # Errors
/// [`SealingKeyError`]: a file that is not right is never replaced, for secrets may be sealed with it.
pub fn load(path: &Path) -> Result<SealingKey, SealingKeyError> {
    let io_error = |source| SealingKeyError::Io {
        path: path.to_owned(),
        source,
    };
    match File::open(path) {
        Ok(file) => read(file, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = SealingKey::generate().map_err(|_| SealingKeyError::Random)?;
            write(&key, path).map_err(io_error)?;
            Ok(key)
        }
        Err(error) => Err(io_error(error)),
    }
}

fn read(file: File, path: &Path) -> Result<SealingKey, SealingKeyError> {
    let io_error = |source| SealingKeyError::Io {
        path: path.to_owned(),
        source,
    };
    let mode = file.metadata().map_err(io_error)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(SealingKeyError::Open(path.to_owned()));
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST as usize));
    file.take(LONGEST)
        .read_to_end(&mut bytes)
        .map_err(io_error)?;
    SealingKey::from_bytes(&bytes).map_err(|source| SealingKeyError::Broken {
        path: path.to_owned(),
        source,
    })
}

/// Written beside and renamed, so that there is a whole key or none. The state directory's lock is held.
fn write(key: &SealingKey, path: &Path) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(&key.to_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent()
        .map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_kept() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("sealing.key");
        let made = load(&path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(load(&path).unwrap().public(), made.public());
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_not_right_is_told_and_left() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("sealing.key");
        load(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load(&path), Err(SealingKeyError::Open(_))));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for bytes in [&[][..], &[7; 31], &[7; 33], &[7; 1000]] {
            fs::write(&path, bytes).unwrap();
            assert!(matches!(load(&path), Err(SealingKeyError::Broken { .. })));
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}
