//! Finds vmm processes that an earlier hostd on this state directory left, by the marker in their environment,
//! and ends them.
//!
//! A vmm ends by itself when its socketpair closes; this is for the one that is stuck. One that is already being taken down
//! has no environment any more and is not found here: its cgroup still tells of it.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::MARKER;

/// How long orphans may take to go by themselves.
const GRACE: Duration = Duration::from_millis(500);
/// A killed process is gone at once, unless the kernel has to free gigabytes first.
const KILL_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// Waits for orphans to go, kills those that do not, and returns how many had to be killed.
pub async fn end_orphans(state_dir: &Path) -> usize {
    let orphans = find(state_dir);
    if gone_within(&orphans, GRACE).await {
        return 0;
    }
    // One that has ended meanwhile cannot be signalled, and was not killed by us.
    let killed = orphans
        .iter()
        .filter(|orphan| pidfd_send_signal(orphan, Signal::KILL).is_ok())
        .count();
    if !gone_within(&orphans, KILL_LIMIT).await {
        tracing::error!("vmm processes of an earlier hostd do not go, even when killed");
    }
    killed
}

async fn gone_within(orphans: &[OwnedFd], limit: Duration) -> bool {
    let all = async {
        while !orphans.iter().all(has_ended) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(limit, all).await.is_ok()
}

/// A process's descriptor becomes readable when the last of it has ended: later than its environment is empty.
fn has_ended(process: &OwnedFd) -> bool {
    let mut waited_for = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    poll(&mut waited_for, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

fn find(state_dir: &Path) -> Vec<OwnedFd> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        // Whatever our own environment says, we are no orphan.
        .filter(|pid| *pid != rustix::process::getpid())
        .filter_map(|pid| open(pid, state_dir))
        .collect()
}

/// The descriptor is opened before the process is looked at: a number that is reused afterwards does not matter.
fn open(pid: Pid, state_dir: &Path) -> Option<OwnedFd> {
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    is_ours(pid, state_dir).then_some(process)
}

fn is_ours(pid: Pid, state_dir: &Path) -> bool {
    // Zombies and kernel threads have an empty environment, foreign processes a different one.
    let Ok(environment) = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())) else {
        return false;
    };
    environment.split(|byte| *byte == 0).any(|variable| {
        let value = variable
            .strip_prefix(MARKER.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="));
        value == Some(state_dir.as_os_str().as_bytes())
    })
}
