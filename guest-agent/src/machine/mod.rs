//! The machine that the agent runs on, as the barrier needs it.
//!
//! The trait exists because these operations change a whole machine: its clock, its name, its
//! random pool. Tests drive the same barrier and services against a machine that only records.

mod authority;
mod cgroup;
mod clock;
mod entropy;
mod freezer;
mod guest;
mod identity;
mod memory;
mod strays;

use std::os::fd::BorrowedFd;
use std::time::SystemTime;

use nix::errno::Errno;

pub use authority::Authority;
pub(crate) use entropy::MAX_ENTROPY_BYTES;
pub use freezer::Freezer;
pub use guest::Guest;
pub use identity::Identity;
pub(crate) use identity::mount_files;

/// One thing that could not be done to the machine.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// A system call failed.
    #[error("{operation}: {errno}")]
    Call {
        /// Which call, on what.
        operation: &'static str,
        /// Why.
        errno: Errno,
    },
    /// Processes did not come to rest in time; one may be stuck in the kernel.
    #[error("the sandbox's processes were not frozen within {millis} ms")]
    FreezeTimeout {
        /// How long was waited.
        millis: u128,
    },
    /// A process is outside the sandbox's cgroup and cannot be brought back.
    #[error("process {pid} does not come back into the sandbox's cgroup: {errno}")]
    Stray {
        /// Which.
        pid: i32,
        /// Why not.
        errno: Errno,
    },
}

impl MachineError {
    pub(crate) fn call(operation: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::Call { operation, errno }
    }

    pub(crate) fn io(operation: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Call {
            operation,
            errno: crate::status::errno_of(&error),
        }
    }
}

/// Memory and processes, in bytes and numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MachineStats {
    /// Proportional set size of PID 1 and the agent together.
    pub agent_pss_bytes: u64,
    /// `MemTotal`.
    pub memory_total_bytes: u64,
    /// `MemAvailable`.
    pub memory_available_bytes: u64,
    /// Processes of the sandbox.
    pub processes: u32,
}

/// What freeze and the restore barrier do. All calls block; none is called concurrently with another
/// but [`Machine::stats`], [`Machine::memory_bytes`] and [`Machine::cgroup`].
pub trait Machine: Send + Sync + 'static {
    /// Mixes bytes into the kernel's pool, credits them, and reseeds its generator.
    fn add_entropy(&self, bytes: &[u8]) -> Result<(), MachineError>;
    /// Sets the wall clock; answers by how many nanoseconds it went forward.
    fn step_clock(&self, to: SystemTime) -> Result<i64, MachineError>;
    /// Takes host name and machine id.
    fn take_identity(&self, identity: &Identity) -> Result<(), MachineError>;
    /// Has programs trust an authority. Those whose store is spoilt do not; the machine runs on.
    fn trust(&self, authority: &Authority);
    /// Stops every process of the sandbox and flushes file systems; answers how many were stopped.
    /// On an error none is left stopped.
    fn freeze(&self) -> Result<u32, MachineError>;
    /// Lets them run. No error if they do already.
    fn thaw(&self) -> Result<(), MachineError>;
    /// The cgroup that a new process of the sandbox is born in; `None` where there is none.
    fn cgroup(&self) -> Option<BorrowedFd<'_>>;
    /// Begins to power the machine off and returns.
    fn power_off(&self) -> Result<(), MachineError>;
    /// The memory that there is (`MemTotal`), in bytes; 0 when that is not known.
    fn memory_bytes(&self) -> u64;
    /// Measures.
    fn stats(&self) -> MachineStats;
}
