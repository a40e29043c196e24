//! What the official Deno Sandbox SDKs speak: HTTP and a WebSocket, on an address of their own (`--gateway`). The packages are the
//! specification: PyPI `deno-sandbox` and npm `@deno/sandbox`.
//!
//! | route | what it does |
//! |---|---|
//! | WebSocket `/api/v3/sandboxes/create` | makes a sandbox, and speaks for it |
//! | WebSocket `/api/v3/sandbox/{id}/connect` | speaks for one that is there |
//! | DELETE `/api/v3/sandbox/{id}`, `/api/v3/sandboxes/{id}` | ends it (JavaScript, Python) |
//! | PATCH `/api/v3/sandbox/{id}` | moves the end of its time |
//! | POST `/api/v3/sandbox/{id}/expose/http`, `…/vscode` | gives out a host name for it, if there is an [`ingress`](crate::ingress) |
//! | POST `/api/v3/sandbox/{id}/expose/ssh` | gives out a user name for it, if there is [`ssh`](crate::ssh) |
//! | GET `/api/v2/sandboxes`, `/api/v3/sandboxes` | lists them (JavaScript, Python) |
//! | GET `/api/v2/snapshots`, GET and DELETE `/api/v2/snapshots/{id or slug}` | lists, shows and deletes snapshots |
//! | all others | say that they are not supported |
//!
//! The remote procedures themselves are carried out in the guest (`guest-agent/rpc`): what a client sends there is passed on
//! unread, and what comes back is believed to be no more than bytes.

mod auth;
mod config;
mod error;
mod lease;
mod link;
mod memory;
mod pages;
mod rest;
mod server;
mod session;
mod snapshots;

pub use server::{Exposure, serve};
