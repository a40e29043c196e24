//! Processes of the guest that are not in the sandbox's cgroup.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::Pid;

use super::MachineError;
use super::cgroup::{Cgroup, open_beneath};
use super::freezer::SANDBOX;

/// `PF_KTHREAD` of the kernel's `sched.h`, as `/proc/<pid>/stat` shows it.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Finds them.
#[derive(Debug)]
pub(super) struct Strays {
    /// Of the hierarchy.
    root: Cgroup,
    /// `/proc`, opened before a program could mount something else there.
    proc: File,
}

impl Strays {
    /// Whoever is in a hierarchy but not in its sandbox.
    pub(super) fn of(root: Cgroup) -> Result<Self, MachineError> {
        let proc = File::open("/proc").map_err(MachineError::io("open /proc"))?;
        Ok(Self { root, proc })
    }

    /// All of them, but for PID 1, this process and kernel threads.
    pub(super) fn find(&self) -> Result<Vec<Pid>, MachineError> {
        let outside = self.root.processes(Some(SANDBOX));
        let mut outside = outside.map_err(MachineError::io("looking for strays"))?;
        let ours = [Pid::from_raw(1), Pid::this()];
        outside.retain(|pid| !ours.contains(pid) && !self.is_kernel_thread(*pid));
        Ok(outside)
    }

    /// What cannot be read counts as a program.
    fn is_kernel_thread(&self, pid: Pid) -> bool {
        let path = format!("{pid}/stat");
        let mut stat = String::new();
        open_beneath(&self.proc, Path::new(&path), OFlag::O_RDONLY)
            .map(File::from)
            .is_ok_and(|mut file| file.read_to_string(&mut stat).is_ok())
            && flags_in(&stat).is_some_and(|flags| flags & KERNEL_THREAD != 0)
    }
}

/// The task's flags: the seventh field behind the name, which may itself have spaces and parentheses.
fn flags_in(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(6)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_pretend_to_be_flags() {
        let kernel = "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0";
        let named = "77 (x) S 0 0 0 0 -1 2129984) R 1 77 77 0 -1 4194304 0 0";
        assert_ne!(flags_in(kernel).unwrap() & KERNEL_THREAD, 0);
        assert_eq!(flags_in(named).unwrap() & KERNEL_THREAD, 0);
        assert_eq!(flags_in("2 (kthreadd"), None);
    }
}
