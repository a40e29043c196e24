//! Finds vmm processes that an earlier hostd on this state directory left, by the marker in their environment,
//! and ends them.
//!
//! A vmm ends by itself when its socketpair closes; this is for the one that is stuck.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::MARKER;

/// How long orphans may take to go by themselves before they are killed, and after that.
const GRACE: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(10);

/// Waits for orphans to go, kills those that do not, and returns how many had to be killed. Blocks.
pub fn end_orphans(state_dir: &Path) -> usize {
    if gone_within(state_dir, GRACE) {
        return 0;
    }
    let killed = find(state_dir)
        .into_iter()
        .filter(|pid| kill(*pid, state_dir))
        .count();
    if !gone_within(state_dir, GRACE) {
        tracing::error!("vmm processes of an earlier hostd do not go, even when killed");
    }
    killed
}

fn gone_within(state_dir: &Path, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if find(state_dir).is_empty() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// Our own processes carry no marker, so that hostd never finds itself.
fn find(state_dir: &Path) -> Vec<Pid> {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| is_ours(*pid, state_dir))
        .collect()
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

/// The descriptor is opened before the process is looked at again: a number that was reused in between is
/// not killed.
fn kill(pid: Pid, state_dir: &Path) -> bool {
    let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else {
        return false;
    };
    is_ours(pid, state_dir) && pidfd_send_signal(process, Signal::KILL).is_ok()
}
