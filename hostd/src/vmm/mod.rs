//! The vmm processes: one for each sandbox.
//!
//! [`pool`] keeps some started; [`process`] owns one and watches it die; [`link`] is the socketpair
//! to it, carrying `thaw.vmm.v1` and descriptors; [`calls`] is what can be asked of it;
//! [`memory`] reads its memory figures; [`probe`] asks the binary about KVM and the CPU; [`orphans`] finds those of an earlier hostd.
//!
//! Only messages go to a vmm, and nothing that it answers is trusted: packets are capped, calls have deadlines,
//! and a vmm that misbehaves costs its own sandbox alone.

pub mod calls;
pub mod link;
pub mod memory;
pub mod orphans;
pub mod packet;
pub mod pool;
pub mod probe;
pub mod process;

use std::process::ExitStatus;
use std::time::Duration;

pub use pool::VmmPool;
pub use process::Vmm;

/// The environment variable that marks our vmm processes; its value is the state directory. It is of no other use: a variable
/// that somebody may set for hostd itself would make hostd look like one of its own vmms.
pub const MARKER: &str = "THAW_VMM_OF";

/// What can go wrong between hostd and a vmm.
#[derive(Debug, thiserror::Error)]
pub enum VmmError {
    /// The process could not be started.
    #[error("cannot start the vmm {path}")]
    Spawn {
        /// The binary.
        path: String,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// hostd ends, and starts no more.
    #[error("hostd is shutting down")]
    Closed,
    /// The socketpair failed.
    #[error("cannot talk to the vmm")]
    Socket(#[source] std::io::Error),
    /// The vmm closed its end: it is dead or dying.
    #[error("the vmm is gone")]
    Gone,
    /// The vmm did not answer.
    #[error("the vmm did not answer {call} within {limit:?}")]
    Timeout {
        /// The request.
        call: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// The vmm answered something else than was asked.
    #[error("the vmm broke the protocol: {0}")]
    Protocol(&'static str),
    /// The request does not fit a packet.
    #[error("a message of {0} bytes to the vmm is too long")]
    TooLong(usize),
    /// The vmm said no.
    #[error("{message}")]
    Refused {
        /// What kind of no.
        kind: Refusal,
        /// The vmm's chain of causes.
        message: String,
    },
}

/// The kinds of no, as `thaw.vmm.v1.Failure.Kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request can never work.
    InvalidConfig,
    /// State bytes are damaged or do not fit.
    InvalidSnapshot,
    /// The CPU lacks what the snapshot needs.
    IncompatibleCpu,
    /// Not now.
    WrongState,
    /// KVM or the kernel said no, or the vmm did not say why.
    Host,
}

/// How a vmm, and so its guest, came to its end.
#[derive(Clone, Debug)]
pub enum VmmEnd {
    /// The guest powered itself off.
    PoweredOff,
    /// The guest rebooted, panicked or faulted thrice.
    Reset(String),
    /// The vmm gave up and said why.
    GaveUp(String),
    /// Its socket closed or broke while the process lived on. It was killed.
    CutOff,
    /// The process died.
    Died {
        /// Its exit status, when it could be had.
        status: Option<ExitStatus>,
        /// The last line that it wrote to stderr.
        last_words: String,
    },
}
