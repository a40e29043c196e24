//! The public gRPC API. Generated types come in and go out here, and nowhere else in the daemon.
//!
//! [`wire`] and [`page`] turn messages into domain types and back, [`status`] turns errors into statuses; the
//! services do no more than call the domain.

pub mod auth;
pub mod broken_off;
pub mod files;
pub mod host;
pub mod needs;
pub mod network;
pub mod networks;
pub mod page;
pub mod processes;
pub mod processor;
pub mod relay;
pub mod sandboxes;
pub mod snapshots;
pub mod status;
pub mod tokens;
mod while_admitted;
pub mod wire;

use std::pin::Pin;

use futures::Stream;
use tonic::Status;

/// What the services answer.
pub type Response<T> = Result<tonic::Response<T>, Status>;
/// A stream of answers.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
