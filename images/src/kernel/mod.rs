//! The guest's kernel: taken out of Debian's package, and the modules a guest needs.

pub mod bzimage;
pub mod lz4;
pub mod modules;
pub mod package;
