//! One module per command.

pub mod build;
mod client;
pub mod snapshot;
pub mod verify;
