//! The procedures, called as the SDKs call them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(missing_docs, reason = "test code")]

mod client;
mod deno;
mod environment;
mod fetch;
mod files;
mod handles;
mod processes;
mod search;
mod trouble;
mod vscode;
