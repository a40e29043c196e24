//! The vmm as hostd sees it: a process and a socket. The guests are a few instructions long and run
//! wherever there is a `/dev/kvm`, however slow; only [`linux`] wants a real one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;
mod jail;
mod lifecycle;
mod linux;
mod mini_guest;
mod requests;
mod snapshot;
