//! The control socket: requests in, replies and events out.
//!
//! - [`channel`]: packets and the descriptors that travel with them.
//! - [`fds`]: a packet's descriptors, each taken once.
//! - [`failure`]: from the vmm's errors to the protocol's kinds.
//! - [`session`]: what a request does, and when it may come.

pub mod channel;
pub mod failure;
pub mod fds;
pub mod session;
