//! ssh keys of the virtual host and of its callers, made once for this cache directory.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use images::command::{command, run};

/// Two key pairs.
#[derive(Debug)]
pub struct Keys {
    directory: PathBuf,
}

impl Keys {
    /// The keys in the cache; made when they are not there.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn load(cache: &Path) -> Result<Self> {
        let keys = Self {
            directory: cache.join("keys"),
        };
        if !keys.directory.exists() {
            let work = cache.join("keys-new");
            let _ = fs::remove_dir_all(&work);
            fs::create_dir(&work)?;
            for name in ["caller", "host"] {
                let mut keygen = command("ssh-keygen");
                run(keygen
                    .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
                    .arg(work.join(name)))?;
            }
            fs::rename(work, &keys.directory)?;
        }
        Ok(keys)
    }

    /// The caller's private key.
    pub fn caller(&self) -> PathBuf {
        self.directory.join("caller")
    }

    /// The line that lets the caller in.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn authorized(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.directory.join("caller.pub"))?)
    }

    /// The virtual host's private key.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn host(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.directory.join("host"))?)
    }

    /// Writes the file by which ssh knows the virtual host under `alias`, and returns its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn known_hosts(&self, alias: &str) -> Result<PathBuf> {
        let path = self.directory.join("known_hosts");
        if !path.exists() {
            let public = fs::read_to_string(self.directory.join("host.pub"))?;
            fs::write(&path, format!("{alias} {public}"))?;
        }
        Ok(path)
    }
}
