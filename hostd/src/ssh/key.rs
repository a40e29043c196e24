//! The host's key, by which clients know it again: made once, and kept where only hostd reads it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use russh::keys::PrivateKey;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::ssh_key::{self, LineEnding};
use zeroize::Zeroizing;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot use {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Something else is in it, or no key can be made.
    #[error("{path} holds no private key of OpenSSH; put the right file there, or remove it")]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: ssh_key::Error,
    },
}

/// The key in this file; a fresh one (Ed25519), if there is none.
///
/// # Errors
/// [`KeyError`]: a file that is not right is never replaced, for clients know the key that was in it.
pub fn load(path: &Path) -> Result<PrivateKey, KeyError> {
    let io_error = |source| KeyError::Io {
        path: path.to_owned(),
        source,
    };
    let broken = |source| KeyError::Broken {
        path: path.to_owned(),
        source,
    };
    match fs::read_to_string(path) {
        Ok(text) => PrivateKey::from_openssh(text).map_err(broken),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut seed = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *seed).map_err(|error| io_error(error.into()))?;
            let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
            let text = key.to_openssh(LineEnding::LF).map_err(broken)?;
            write(path, &text).map_err(io_error)?;
            Ok(key)
        }
        Err(error) => Err(io_error(error)),
    }
}

/// Nobody ever sees half of it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ssh_host_key");
        let key = load(&path).unwrap();
        assert_eq!(load(&path).unwrap().public_key(), key.public_key());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&path, "nonsense").unwrap();
        assert!(matches!(load(&path), Err(KeyError::Broken { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"nonsense");
    }
}
