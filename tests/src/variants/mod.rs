//! Images and snapshots that are not as they should be.

pub mod image;
pub mod snapshot;
