//! Programs of the sandbox: started, attached to, signalled, waited for.
//!
//! ```text
//!   gRPC in ──► input ───► stdin ┌─────────┐ stdout/stderr ──► pump ──► outlet ──► attachment ──► gRPC out
//!                                │ program │                            (bounded)
//!                       spawn ──►└─────────┘──► pidfd ──► supervisor ──► table
//! ```
//!
//! - [`spec`]: a wire specification becomes a validated [`spec::Plan`].
//! - [`spawn`]: the one place that clones and executes.
//! - [`process`]: one program; [`supervise`] is the task that owns its end; [`table`] knows them all.
//! - [`outlet`]: what it has written and nobody has taken, a [`buffer`] for each stream; [`pump`] fills it.
//! - [`budget`]: how much is kept for nobody, of all programs together.
//! - [`attachment`]: a gRPC stream on a process; [`input`] is its other direction.

mod accounts;
mod attachment;
mod budget;
mod buffer;
mod input;
mod outlet;
mod process;
mod pump;
mod service;
mod signal;
mod spawn;
mod spec;
mod stdio;
mod supervise;
mod table;

pub use accounts::{Account, Accounts};
pub use service::ProcessesService;
pub use table::Table;

/// Arguments of one program, and variables of one environment, at most.
pub const MAX_ARGUMENTS: usize = 4096;
/// Variables of one environment, at most.
pub const MAX_VARIABLES: usize = 4096;
/// Bytes of all arguments and variables of one program together, at most.
pub const MAX_SPEC_BYTES: usize = 1 << 20;
