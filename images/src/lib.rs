//! Image recipes: Debian packages to a kernel and a root file system, and those to a snapshot.

pub mod build;
pub mod command;
pub mod cpio;
pub mod debian;
pub mod description;
pub mod kernel;
pub mod recipe;
