//! What a hostd has of the machine: processes, files, sockets, cgroups, descriptors.

use std::path::Path;

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::procfs;

/// Descriptors come and go with connections, with the database's caches, and with the networks that are kept ready.
const SPARE_DESCRIPTORS: usize = 40;

/// What is there at one moment.
#[derive(Clone, Debug, Default)]
pub struct Footprint {
    /// Names of processes that descend from hostd (or, looked at from outside, from this test).
    pub processes: Vec<String>,
    /// Sandboxes' directories with their sockets, and temporary files.
    pub files: Vec<String>,
    /// Names of cgroups, without the numbers in them.
    pub cgroups: Vec<String>,
    /// Open descriptors of hostd.
    pub descriptors: usize,
}

impl Footprint {
    /// Of a running hostd.
    pub(super) fn of(pid: u32, state: &Path, temporary: &Path) -> Self {
        let mut files = procfs::files_below(temporary);
        files.extend(procfs::files_below(&state.join("run")));
        Self {
            processes: if pid == 0 { Vec::new() } else { names(pid) },
            files,
            cgroups: cgroups(),
            descriptors: procfs::open_files(pid),
        }
    }

    /// Of this test, to which the orphans of an ended hostd come.
    pub(super) fn outside() -> Self {
        Self {
            processes: names(std::process::id()),
            cgroups: cgroups(),
            ..Self::default()
        }
    }

    /// Whether so many vmms were started and put into their cgroups, where hostd has any.
    pub(super) fn has_vmms(&self, count: usize) -> bool {
        let started = |names: &[String], end: &str| {
            let ends = |name: &&String| name.ends_with(end);
            names.iter().filter(ends).count() >= count
        };
        let in_cgroups = started(&self.cgroups, "/vmm-");
        started(&self.processes, "vmm") && (in_cgroups || self.cgroups.is_empty())
    }

    /// Whether every process here was in the other one, too.
    pub(super) fn runs_within(&self, before: &Self) -> bool {
        is_subset(&self.processes, &before.processes)
    }

    /// Whether everything here was in the other one, too.
    pub fn is_within(&self, before: &Self) -> bool {
        self.runs_within(before)
            && is_subset(&self.files, &before.files)
            && is_subset(&self.cgroups, &before.cgroups)
            && self.descriptors <= before.descriptors + SPARE_DESCRIPTORS
    }
}

/// Names of the processes below one, those that ended left out.
fn names(ancestor: u32) -> Vec<String> {
    let mut names = Vec::new();
    for process in procfs::descendants(ancestor) {
        match process.zombie {
            // Orphans that ended wait for whoever adopted them. Not ours is an error here.
            true => drop(waitpid(
                Pid::from_raw(process.pid.cast_signed()),
                Some(WaitPidFlag::WNOHANG),
            )),
            false => names.push(process.name),
        }
    }
    names.sort();
    names
}

fn cgroups() -> Vec<String> {
    let mut found = procfs::files_below(Path::new("/sys/fs/cgroup"));
    found.retain(|path| Path::new(path).is_dir());
    // A pool's new process has another number than the one that it stands in for.
    let mut names: Vec<String> = found.iter().map(|path| without_number(path)).collect();
    names.sort();
    names
}

/// A name without the process id at its end.
fn without_number(path: &str) -> String {
    path.trim_end_matches(|c: char| c.is_ascii_digit())
        .to_owned()
}

/// Each element of the first is in the second at least as often; both are sorted.
fn is_subset(few: &[String], many: &[String]) -> bool {
    let mut many = many.iter();
    few.iter().all(|one| many.any(|other| other == one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_number_goes() {
        assert_eq!(without_number("/a/thaw-1f/vmm-123"), "/a/thaw-1f/vmm-");
    }

    #[test]
    fn repeated_names_count() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(is_subset(&words("a b"), &words("a b b")));
        assert!(!is_subset(&words("b b"), &words("a b")));
    }
}
