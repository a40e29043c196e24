//! This machine as a host.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use images::command::{command, run};

use crate::{digest, paths, products::Set};

/// This machine.
#[derive(Debug)]
pub struct Here {
    cache: String,
    scratch: String,
    runtime: String,
}

impl Here {
    /// Makes the directories.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn new() -> Result<Self> {
        let cache = paths::cache()?;
        let kept = cache.join("here");
        fs::create_dir_all(&kept)?;
        Ok(Self {
            cache: text(kept)?,
            scratch: text(paths::state(&cache)?)?,
            runtime: text(paths::runtime(&cache)?)?,
        })
    }

    /// What `down` leaves.
    pub fn cache(&self) -> &str {
        &self.cache
    }

    /// Where state is while something runs.
    pub fn scratch(&self) -> &str {
        &self.scratch
    }

    /// Where sockets are.
    pub fn runtime(&self) -> &str {
        &self.runtime
    }

    /// Gathers links to the files of `set` in one directory.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn shelve(&self, set: &Set) -> Result<String> {
        let names = set
            .iter()
            .map(|(name, path)| format!("{name} {}", path.display()));
        let names: Vec<String> = names.collect();
        let key = digest::of_parts(names.iter().map(String::as_str));
        let directory = Path::new(&self.runtime).join("sets").join(&key[..16]);
        fs::create_dir_all(&directory)?;
        for (name, path) in set {
            let link = directory.join(name);
            if !link.exists() {
                symlink(path, &link).with_context(|| format!("cannot link {}", link.display()))?;
            }
        }
        Ok(directory.display().to_string())
    }

    /// Runs a shell line.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, line: &str) -> Result<String> {
        let output = run(command("sh").arg("-c").arg(line))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

fn text(path: PathBuf) -> Result<String> {
    path.into_os_string()
        .into_string()
        .ok()
        .context("a path is not UTF-8")
}
