//! The cgroup that every process of the sandbox is born in, and its freezer.
//!
//! The guest's root can leave it, or have the kernel start a helper outside. So a freeze looks for strays before
//! it counts as done, and brings them back.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::MachineError;
use super::cgroup::Cgroup;
use super::strays::Strays;

/// How long processes may take to come to rest. It is microseconds unless one is inside a slow disk or file
/// system operation.
const FREEZE_WAIT: Duration = Duration::from_secs(5);

/// A notification that was lost costs at most this.
const LOOK_AGAIN: u16 = 50;

/// The sandbox's cgroup, below the root of the hierarchy.
pub(super) const SANDBOX: &str = "sandbox";

/// The sandbox's cgroup.
#[derive(Debug)]
pub struct Freezer {
    sandbox: Cgroup,
    strays: Strays,
}

impl Freezer {
    /// Makes the cgroup `sandbox`, or takes the one that is there, below a cgroup v2 of which it shall hold all
    /// processes: but for PID 1, this process and the kernel's own threads.
    ///
    /// # Errors
    /// When it cannot be made, for example because this is not cgroup v2.
    pub fn create(hierarchy: &Path) -> Result<Self, MachineError> {
        let root = Cgroup::open(hierarchy).map_err(MachineError::io("open the cgroups"))?;
        let sandbox = root
            .child(SANDBOX)
            .map_err(MachineError::call("making the sandbox's cgroup"))?;
        let strays = Strays::of(root)?;
        Ok(Self { sandbox, strays })
    }

    /// Stops every process and waits until they rest; answers how many there are.
    ///
    /// # Errors
    /// [`MachineError::FreezeTimeout`] when one does not come to rest, [`MachineError::Stray`] when one does not
    /// come back into the cgroup; then all run again.
    pub fn freeze(&self) -> Result<u32, MachineError> {
        let frozen = self.write_freeze("1").and_then(|()| self.freeze_all());
        if let Err(error) = frozen {
            let _ = self.thaw();
            return Err(error);
        }
        Ok(self.processes())
    }

    /// Lets them run.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn thaw(&self) -> Result<(), MachineError> {
        self.write_freeze("0")
    }

    /// How many processes there are, those in cgroups below included.
    pub fn processes(&self) -> u32 {
        let found = self.sandbox.processes(None).map_or(0, |found| found.len());
        u32::try_from(found).unwrap_or(u32::MAX)
    }

    fn write_freeze(&self, value: &str) -> Result<(), MachineError> {
        let written = self.sandbox.write("cgroup.freeze", value);
        written.map_err(MachineError::io("cgroup.freeze"))
    }

    /// A stray may start another while it is moved: so it is looked again until none is found.
    fn freeze_all(&self) -> Result<(), MachineError> {
        let deadline = Instant::now() + FREEZE_WAIT;
        loop {
            self.wait_until_frozen(deadline)?;
            let strays = self.strays.find()?;
            let Some(first) = strays.first() else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(stray(*first, Errno::ETIMEDOUT));
            }
            strays.iter().try_for_each(|pid| self.take_in(*pid))?;
        }
    }

    /// Moves a process with all its threads; in a frozen cgroup it freezes.
    fn take_in(&self, pid: Pid) -> Result<(), MachineError> {
        match self.sandbox.write("cgroup.procs", &pid.to_string()) {
            Ok(()) => Ok(()),
            // It has ended.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            Err(error) => Err(stray(pid, crate::status::errno_of(&error))),
        }
    }

    fn wait_until_frozen(&self, deadline: Instant) -> Result<(), MachineError> {
        let mut events = self
            .sandbox
            .file("cgroup.events")
            .map_err(MachineError::call("cgroup.events"))?;
        while !is_frozen(&mut events).map_err(MachineError::io("cgroup.events"))? {
            if Instant::now() >= deadline {
                return Err(MachineError::FreezeTimeout {
                    millis: FREEZE_WAIT.as_millis(),
                });
            }
            // The kernel announces a change of this file as an exceptional condition.
            let mut change = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
            match poll(&mut change, PollTimeout::from(LOOK_AGAIN)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(MachineError::call("poll cgroup.events")(errno)),
            }
        }
        Ok(())
    }
}

impl AsFd for Freezer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sandbox.as_fd()
    }
}

fn stray(pid: Pid, errno: Errno) -> MachineError {
    let pid = pid.as_raw();
    MachineError::Stray { pid, errno }
}

fn is_frozen(events: &mut File) -> io::Result<bool> {
    let mut text = String::new();
    events.rewind()?;
    events.read_to_string(&mut text)?;
    Ok(text.lines().any(|line| line == "frozen 1"))
}
