//! The remote procedures of a Deno Sandbox, carried out in the guest: what the official SDKs call over their WebSocket.
//!
//! ```text
//!  SDK ── WebSocket, text messages ── hostd's gateway ── frames on standard input and output ── this
//! ```
//!
//! The gateway neither reads nor changes what it carries: a message that makes no sense is this process's trouble alone,
//! which is of the sandbox that it came for. The protocol is JSON-RPC 2.0, and what the published packages send and
//! accept: PyPI `deno-sandbox` and npm `@deno/sandbox`.
//!
//! | module | what it knows |
//! |---|---|
//! | [`connection`] | frames, requests under way, their order |
//! | [`wire`] | messages, and errors as the SDKs read them |
//! | [`streams`] | bytes in pieces, in both directions |
//! | `state` | what requests share: of one client, and of all |
//! | [`exposed`] | names by which ports are reached from outside |
//! | [`service`] | one process for all clients of a sandbox, and how they reach it |
//! | [`methods`] | the procedures, one file for each area |

pub mod connection;
pub mod exposed;
pub mod methods;
pub mod service;
mod state;
pub mod streams;
pub mod wire;

pub use state::Shared;

/// Where the service keeps what other processes of the agent look for: its socket, and what is exposed.
pub const RUN: &str = "/run/thaw";

/// Where programs of a sandbox start, and what relative paths are relative to.
pub const HOME: &str = "/home/app";
