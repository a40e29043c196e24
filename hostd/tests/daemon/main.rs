//! The daemon as a whole: a real `hostd` process with real sockets, files and child processes, and a fake vmm with a fake
//! agent behind it, so that no KVM is needed and every failure can be had on demand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs, reason = "test code")]

mod access;
mod bad_clients;
mod breaking_off;
mod capacity;
mod cli;
mod fake;
mod gateway;
mod host;
mod house;
mod ingress;
mod life;
mod listing;
mod metrics;
mod recovery;
mod snapshot;
mod source;
mod ssh;
mod streams;
mod tenancy;
mod trouble;
