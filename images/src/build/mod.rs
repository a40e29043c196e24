//! From a recipe to an image directory.
//!
//! ```text
//! packages ─► root.erofs ──────────────────┐
//!             scratch.ext4 ────────────────┤
//! kernel package ─► vmlinux, vmlinuz ──────┼─► image.json
//!      └─► modules ─┐                      │
//! guest-agent ──────┴─► initramfs.cpio ────┘
//! ```
//! The disks take a minute and change with the recipe; the rest takes a second and changes
//! with the agent. So they are two steps, and a caller may keep the result of the first.

mod assemble;
mod disks;
mod initramfs;

use std::{io, path::PathBuf};

use thiserror::Error;

pub use assemble::assemble;
pub use disks::make_disks;

use crate::{
    command, debian::bootstrap, description, kernel::modules::NoSuchModule, kernel::package,
};

/// Why no image was made.
#[derive(Debug, Error)]
pub enum Error {
    /// Packages could not be installed.
    #[error("cannot make the root file system")]
    Root(#[from] bootstrap::Error),
    /// mke2fs did not succeed.
    #[error("cannot make the writable disk")]
    Scratch(#[from] command::Error),
    /// The kernel's package is of no use.
    #[error("cannot take the kernel out of its package")]
    Kernel(#[from] package::Error),
    /// The recipe wants a module that the kernel does not have.
    #[error("the recipe does not fit the kernel")]
    Module(#[from] NoSuchModule),
    /// The description could not be written.
    #[error(transparent)]
    Description(#[from] description::Error),
    /// A file could not be read or written.
    #[error("cannot read or write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// For `map_err`: names the file that an error is about.
fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io {
        path: path.into(),
        source,
    }
}
