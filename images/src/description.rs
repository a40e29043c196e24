//! `image.json`: what hostd knows of an image. The digest of this file names the image.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::recipe::Recipe;

/// The version of this format.
pub const FORMAT_VERSION: u32 = 1;
/// The description's name in an image directory.
pub const FILE: &str = "image.json";
/// The uncompressed kernel, an ELF file.
pub const KERNEL: &str = "vmlinux";
/// The same kernel as a bzImage.
pub const BZIMAGE: &str = "vmlinuz";
/// The initramfs.
pub const INITRAMFS: &str = "initramfs.cpio";
/// The read-only root file system.
pub const ROOT_DISK: &str = "root.erofs";
/// The formatted, empty writable disk.
pub const SCRATCH_DISK: &str = "scratch.ext4";

/// Why a description cannot be made or an image is not what its description says.
#[derive(Debug, Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot read or write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The description is not JSON of this format.
    #[error("{path} is not an image's description")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The description has a version that this program does not know.
    #[error("format version {0} of image.json is not known here")]
    Version(u32),
    /// A file has another content than it had when the image was made.
    #[error("{0} is damaged: its digest is not the one in image.json")]
    Damaged(PathBuf),
}

/// The content of `image.json`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Description {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The image's name.
    pub name: String,
    /// The kernel's release, as `uname -r` shows it.
    pub kernel_release: String,
    /// The agent's version.
    pub agent_version: String,
    /// The uncompressed kernel.
    pub kernel: Part,
    /// The kernel as packaged.
    pub kernel_bzimage: Part,
    /// The initramfs.
    pub initramfs: Part,
    /// The read-only root file system.
    pub root_disk: Part,
    /// The formatted, empty writable disk.
    pub scratch_disk: Part,
    /// What a machine gets when nobody says otherwise.
    pub defaults: Defaults,
}

/// A file of an image.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Part {
    /// Its name beside the description.
    pub file: String,
    /// Bytes.
    pub size: u64,
    /// Digest of its content, in hexadecimal.
    pub sha256: String,
}

/// What a machine gets when nobody says otherwise.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Defaults {
    /// Kernel command line.
    pub cmdline: String,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Guest memory in bytes.
    pub memory_bytes: u64,
    /// Who runs programs.
    pub user: String,
}

impl Description {
    /// Describes the files in `directory`.
    ///
    /// # Errors
    /// [`Error::Io`] when one cannot be read.
    pub fn of(
        recipe: &Recipe,
        kernel_release: &str,
        agent_version: &str,
        directory: &Path,
    ) -> Result<Self, Error> {
        let part = |file| part(directory, file);
        Ok(Self {
            format_version: FORMAT_VERSION,
            name: recipe.name.clone(),
            kernel_release: kernel_release.to_owned(),
            agent_version: agent_version.to_owned(),
            kernel: part(KERNEL)?,
            kernel_bzimage: part(BZIMAGE)?,
            initramfs: part(INITRAMFS)?,
            root_disk: part(ROOT_DISK)?,
            scratch_disk: part(SCRATCH_DISK)?,
            defaults: Defaults {
                cmdline: recipe.defaults.cmdline.clone(),
                vcpus: recipe.defaults.vcpus,
                memory_bytes: recipe.defaults.memory_mib << 20,
                user: recipe.defaults.user.clone(),
            },
        })
    }

    fn parts(&self) -> [&Part; 5] {
        [
            &self.kernel,
            &self.kernel_bzimage,
            &self.initramfs,
            &self.root_disk,
            &self.scratch_disk,
        ]
    }
}

/// Writes `description` into `directory`.
///
/// # Errors
/// [`Error::Io`] when it cannot be written.
pub fn write(description: &Description, directory: &Path) -> Result<(), Error> {
    let path = directory.join(FILE);
    let text = serde_json::to_vec_pretty(description).map_err(|source| Error::Syntax {
        path: path.clone(),
        source,
    })?;
    fs::write(&path, text).map_err(|source| Error::Io { path, source })
}

/// Reads the description of the image in `directory` and compares every file with it.
///
/// # Errors
/// [`Error`] says which file is not what it was.
pub fn verify(directory: &Path) -> Result<Description, Error> {
    let path = directory.join(FILE);
    let text = fs::read(&path).map_err(|source| Error::Io {
        path: path.clone(),
        source,
    })?;
    let description: Description =
        serde_json::from_slice(&text).map_err(|source| Error::Syntax { path, source })?;
    if description.format_version != FORMAT_VERSION {
        return Err(Error::Version(description.format_version));
    }
    for expected in description.parts() {
        if part(directory, &expected.file)? != *expected {
            return Err(Error::Damaged(directory.join(&expected.file)));
        }
    }
    Ok(description)
}

fn part(directory: &Path, file: &str) -> Result<Part, Error> {
    let path = directory.join(file);
    let mut hasher = Sha256::new();
    let size = File::open(&path)
        .and_then(|mut content| io::copy(&mut content, &mut hasher))
        .map_err(|source| Error::Io { path, source })?;
    let sha256 = hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Part {
        file: file.to_owned(),
        size,
        sha256,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe;

    #[test]
    fn a_changed_byte_is_found() {
        let directory = tempfile::tempdir().unwrap();
        for file in [KERNEL, BZIMAGE, INITRAMFS, ROOT_DISK, SCRATCH_DISK] {
            fs::write(directory.path().join(file), file).unwrap();
        }
        let recipe = Recipe::parse(recipe::DEFAULT).unwrap();
        let description = Description::of(&recipe, "6.1.0", "1", directory.path()).unwrap();
        write(&description, directory.path()).unwrap();
        assert_eq!(verify(directory.path()).unwrap(), description);
        fs::write(directory.path().join(ROOT_DISK), "root.erofS").unwrap();
        assert!(matches!(verify(directory.path()), Err(Error::Damaged(_))));
    }
}
