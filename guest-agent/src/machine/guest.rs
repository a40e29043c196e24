//! The real thing: the guest's own kernel.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::SystemTime;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Freezer, Identity, Machine, MachineError, MachineStats, clock, entropy, memory};

/// All processes of the sandbox live here.
const SANDBOX_CGROUP: &str = "/sys/fs/cgroup/sandbox";

/// The guest that this agent runs in.
#[derive(Debug)]
pub struct Guest {
    freezer: Freezer,
}

impl Guest {
    /// Makes the sandbox's cgroup.
    ///
    /// # Errors
    /// When cgroup v2 is not mounted.
    pub fn new() -> Result<Self, MachineError> {
        Ok(Self {
            freezer: Freezer::create(Path::new(SANDBOX_CGROUP))?,
        })
    }
}

impl Machine for Guest {
    fn add_entropy(&self, bytes: &[u8]) -> Result<(), MachineError> {
        entropy::add(bytes)
    }

    fn step_clock(&self, to: SystemTime) -> Result<i64, MachineError> {
        clock::step(to)
    }

    fn take_identity(&self, identity: &Identity) -> Result<(), MachineError> {
        identity.apply()
    }

    fn freeze(&self) -> Result<u32, MachineError> {
        let frozen = self.freezer.freeze()?;
        nix::unistd::sync();
        Ok(frozen)
    }

    fn thaw(&self) -> Result<(), MachineError> {
        self.freezer.thaw()
    }

    fn cgroup(&self) -> Option<BorrowedFd<'_>> {
        Some(self.freezer.as_fd())
    }

    fn power_off(&self) -> Result<(), MachineError> {
        kill(Pid::from_raw(1), Signal::SIGTERM).map_err(MachineError::call("asking PID 1"))
    }

    fn stats(&self) -> MachineStats {
        MachineStats {
            agent_pss_bytes: memory::pss_bytes("1") + memory::pss_bytes("self"),
            memory_total_bytes: memory::meminfo_bytes("MemTotal"),
            memory_available_bytes: memory::meminfo_bytes("MemAvailable"),
            processes: self.freezer.processes(),
        }
    }
}
