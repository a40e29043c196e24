//! Debian's kernel package, unpacked.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::{bzimage, modules::Modules};
use crate::{
    command::{self, command, run},
    debian::bootstrap,
};

/// Why the package is of no use.
#[derive(Debug, Error)]
pub enum Error {
    /// It could not be had.
    #[error(transparent)]
    Bootstrap(#[from] bootstrap::Error),
    /// `depmod` failed.
    #[error(transparent)]
    Depmod(#[from] command::Error),
    /// Its kernel is not understood.
    #[error(transparent)]
    Image(#[from] bzimage::Error),
    /// There is no kernel where one is expected.
    #[error("no kernel in {0}")]
    NoKernel(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot read or write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A kernel package unpacked in a directory: `boot/vmlinuz-RELEASE`, `boot/vmlinux` (the ELF
/// file, made here), `lib/modules/RELEASE`, and `bin/busybox`.
#[derive(Clone, Debug)]
pub struct KernelTree {
    root: PathBuf,
    release: String,
}

impl KernelTree {
    /// Fetches `package` and unpacks it in `root`. A static busybox is unpacked beside it, for
    /// those who need a shell before there is a root file system.
    ///
    /// # Errors
    /// [`Error`] when it cannot be had or is not understood.
    pub fn fetch(package: &str, root: &Path) -> Result<Self, Error> {
        let members = ["./boot", "./lib/modules", "./bin/busybox"];
        bootstrap::extract(&[package, "busybox-static"], &members, root)?;
        let tree = Self::open(root)?;
        run(command("depmod").arg("-b").arg(root).arg(&tree.release))?;
        let elf = bzimage::extract_elf(&read(&tree.bzimage())?)?;
        let path = tree.vmlinux();
        fs::write(&path, elf).map_err(|source| Error::Io { path, source })?;
        Ok(tree)
    }

    /// Opens a tree that [`Self::fetch`] made.
    ///
    /// # Errors
    /// [`Error::NoKernel`] when there is none.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let boot = root.join("boot");
        let release = fs::read_dir(&boot)
            .map_err(|source| Error::Io { path: boot, source })?
            .flatten()
            .find_map(|entry| {
                entry
                    .file_name()
                    .to_str()?
                    .strip_prefix("vmlinuz-")
                    .map(str::to_owned)
            })
            .ok_or_else(|| Error::NoKernel(root.to_owned()))?;
        Ok(Self {
            root: root.to_owned(),
            release,
        })
    }

    /// As `uname -r` shows it.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The compressed kernel as packaged.
    pub fn bzimage(&self) -> PathBuf {
        self.root
            .join("boot")
            .join(format!("vmlinuz-{}", self.release))
    }

    /// The uncompressed kernel.
    pub fn vmlinux(&self) -> PathBuf {
        self.root.join("boot/vmlinux")
    }

    /// A statically linked busybox.
    pub fn busybox(&self) -> PathBuf {
        self.root.join("bin/busybox")
    }

    /// `lib/modules` of the tree.
    pub fn modules_directory(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }

    /// What `depmod` found.
    ///
    /// # Errors
    /// [`Error::Io`] when its files cannot be read.
    pub fn modules(&self) -> Result<Modules, Error> {
        let directory = self.modules_directory();
        let text = |name| {
            read(&directory.join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Modules::parse(
            &text("modules.dep")?,
            &text("modules.builtin")?,
        ))
    }

    /// The content of the module at `path`, one of those that [`Modules::load_order`] returns.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read.
    pub fn module(&self, path: &str) -> Result<Vec<u8>, Error> {
        read(&self.modules_directory().join(path))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Io {
        path: path.to_owned(),
        source,
    })
}
