//! One module per command.

pub mod down;
pub mod host;
