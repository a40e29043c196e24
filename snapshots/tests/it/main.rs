//! The crate as its users see it. One binary: it links once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod disk;
mod fuzz;
mod manifest;
mod state;
mod store;
mod support;
mod template;
