//! One module per command.

pub mod bench;
pub mod demo;
pub mod down;
pub mod host;
pub mod test;
pub mod up;
