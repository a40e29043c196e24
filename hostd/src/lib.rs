//! The Thaw host daemon.
//!
//! ```text
//!   api ──────► sandboxes ──────► sandbox (one task each) ──► vmm   (process, socketpair)
//!    │ tonic      registry          state machine          ├─► agent (gRPC over vsock)
//!    │                                                      ├─► network (namespace, egress proxy)
//!    │                                                      ├─► templates, images, store
//!    └► host (info, doctor)                                 └─► database (records)
//! ```
//!
//! - [`config`]: what the operator asked for, checked.
//! - [`state_dir`], [`database`], [`recovery`]: what outlives a process.
//! - [`vmm`], [`agent`]: the two peers of a sandbox, outside and inside of its guest.
//! - [`images`], [`templates`]: what a machine is made of.
//! - [`network`]: what it reaches others by.
//! - [`sandbox`], [`sandboxes`]: one life, and all of them.
//! - [`tenancy`]: who calls, and whose things are whose.
//! - [`api`], [`server`]: gRPC. Generated types stop there.

pub mod agent;
pub mod api;
pub mod capability;
pub mod config;
pub mod database;
pub mod error;
pub mod gateway;
pub mod host;
pub mod http;
pub mod id;
pub mod images;
pub mod ingress;
pub mod metrics;
pub mod network;
pub mod recovery;
pub mod sandbox;
pub mod sandboxes;
pub mod sealing;
pub mod server;
pub mod services;
pub mod ssh;
pub mod state_dir;
pub mod store;
pub mod templates;
pub mod tenancy;
pub mod vmm;

pub use config::Config;
pub use error::{Error, Result};

/// This build's version; the vmm binary must be of the same.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
