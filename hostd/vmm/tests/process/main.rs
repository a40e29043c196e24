//! The vmm as hostd sees it: a process and a socket. The guests are a few instructions long and run
//! wherever there is a `/dev/kvm`, however slow.
//!
//! | variable | what |
//! |---|---|
//! | `THAW_VMM`, `THAW_BIN` | the vmm to test, or the directory that it is in; otherwise the one that cargo built |
//! | `THAW_MUST_RUN` | `1`: a test that cannot run has failed; otherwise it is skipped and says why |
//! | `THAW_TEST_SECCOMP` | the vmm's `--seccomp` |
//! | `THAW_TEST_VERBOSE` | set: guests' consoles are printed |
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;
mod jail;
mod lifecycle;
mod mini_guest;
mod net;
mod net_guest;
mod requests;
mod snapshot;
mod tap;
