//! The real thing: the guest's own kernel.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::SystemTime;

use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{
    Authority, Freezer, Identity, Machine, MachineError, MachineStats, clock, entropy, memory,
};

/// Where PID 1 has mounted the whole hierarchy.
const CGROUPS: &str = "/sys/fs/cgroup";
/// All processes of the sandbox live here.
const SANDBOX_CGROUP: &str = "/sys/fs/cgroup/sandbox";

/// The guest that this agent runs in.
#[derive(Debug)]
pub struct Guest {
    freezer: Freezer,
}

impl Guest {
    /// Makes the sandbox's cgroup, and from then on shows it where the whole hierarchy was: it is the root of
    /// the cgroup namespace that programs start in, and cgroups that they make there are frozen with them.
    ///
    /// # Errors
    /// When cgroup v2 is not mounted.
    pub fn new() -> Result<Self, MachineError> {
        let freezer = Freezer::create(Path::new(CGROUPS))?;
        let (none, bind) = (None::<&str>, MsFlags::MS_BIND);
        mount(Some(SANDBOX_CGROUP), CGROUPS, none, bind, none)
            .map_err(MachineError::call("mounting the sandbox's cgroup"))?;
        Ok(Self { freezer })
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

    fn trust(&self, authority: &Authority) {
        if let Err(error) = authority.install(Path::new("/")) {
            tracing::warn!(%error, "the store of certificates");
        }
    }

    fn freeze(&self) -> Result<u32, MachineError> {
        // Most of what is to be written goes out while programs still run, so that they stand still only for
        // what they write meanwhile.
        nix::unistd::sync();
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

    fn memory_bytes(&self) -> u64 {
        memory::meminfo_bytes("MemTotal")
    }

    fn stats(&self) -> MachineStats {
        MachineStats {
            agent_pss_bytes: memory::pss_bytes("1") + memory::pss_bytes("self"),
            memory_total_bytes: self.memory_bytes(),
            memory_available_bytes: memory::meminfo_bytes("MemAvailable"),
            processes: self.freezer.processes(),
        }
    }
}
