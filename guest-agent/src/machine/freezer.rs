//! The cgroup that every process of the sandbox is born in, and its freezer.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::MachineError;

/// How long processes may take to come to rest. It is microseconds unless one is inside a slow disk or file
/// system operation.
const FREEZE_WAIT: Duration = Duration::from_secs(5);

/// A notification that was lost costs at most this.
const LOOK_AGAIN: u16 = 50;

/// The sandbox's cgroup.
#[derive(Debug)]
pub struct Freezer {
    path: PathBuf,
    directory: File,
}

impl Freezer {
    /// Makes the cgroup, or takes the one that is there. The parent is cgroup v2.
    ///
    /// # Errors
    /// When it cannot be made, for example because this is not cgroup v2.
    pub fn create(path: &Path) -> Result<Self, MachineError> {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(MachineError::io("making the sandbox's cgroup")(error));
            }
            _ => {}
        }
        let directory = File::open(path).map_err(MachineError::io("open the cgroup"))?;
        Ok(Self {
            path: path.to_owned(),
            directory,
        })
    }

    /// Stops every process in it and waits until they rest; answers how many there are.
    ///
    /// # Errors
    /// [`MachineError::FreezeTimeout`] when one does not come to rest; then all run again.
    pub fn freeze(&self) -> Result<u32, MachineError> {
        let frozen = self
            .write_freeze("1")
            .and_then(|()| self.wait_until_frozen());
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
        count_processes(&self.path)
    }

    fn write_freeze(&self, value: &str) -> Result<(), MachineError> {
        fs::write(self.path.join("cgroup.freeze"), value).map_err(MachineError::io("cgroup.freeze"))
    }

    fn wait_until_frozen(&self) -> Result<(), MachineError> {
        let deadline = Instant::now() + FREEZE_WAIT;
        let mut events = File::open(self.path.join("cgroup.events"))
            .map_err(MachineError::io("cgroup.events"))?;
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
        self.directory.as_fd()
    }
}

fn is_frozen(events: &mut File) -> io::Result<bool> {
    let mut text = String::new();
    events.rewind()?;
    events.read_to_string(&mut text)?;
    Ok(text.lines().any(|line| line == "frozen 1"))
}

fn count_processes(cgroup: &Path) -> u32 {
    let own =
        fs::read_to_string(cgroup.join("cgroup.procs")).map_or(0, |text| text.lines().count());
    let below: u32 = fs::read_dir(cgroup)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| count_processes(&entry.path()))
        .sum();
    below.saturating_add(u32::try_from(own).unwrap_or(u32::MAX))
}
