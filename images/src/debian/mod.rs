//! Debian packages to files: which sources to use, and mmdebstrap.

pub mod bootstrap;
pub mod sources;

/// The Debian release that everything is made of.
pub const SUITE: &str = "bookworm";
