//! Files of the sandbox: read, written, listed and changed by the host's clients.
//!
//! The agent acts as root. What it makes belongs to the image's default user, or to the user that a request
//! names. A POSIX failure travels as [`crate::status::PosixError`].
//!
//! Every piece of blocking work is one short task on a blocking thread; no thread waits for a client.

mod copy;
mod info;
mod list;
mod make;
mod operations;
mod path;
mod read;
mod replacement;
mod service;
mod write;

pub use service::FilesService;

/// The largest piece read or sent at once, in bytes.
const CHUNK_BYTES: usize = 256 << 10;
