//! Resource limits and the out-of-memory order that everything in the guest starts from.

use nix::sys::resource::{Resource, setrlimit};

use super::failure::BootError;

/// Open files: enough for servers and their tests. The hard limit is the kernel's `fs.nr_open`.
const OPEN_FILES: (u64, u64) = (65_536, 1 << 20);

/// The agent is the last to be killed when memory runs out: without it nobody can reach the guest.
/// Processes that it starts go back to 0.
const AGENT_OOM_SCORE: &str = "-1000";

/// Sets the limits of PID 1, which everything inherits.
pub(super) fn raise() -> Result<(), BootError> {
    let limits = [
        (Resource::RLIMIT_NOFILE, OPEN_FILES.0, OPEN_FILES.1),
        // A core file would only eat the sandbox's disk; a program may raise it again.
        (Resource::RLIMIT_CORE, 0, libc::RLIM_INFINITY),
    ];
    for (resource, soft, hard) in limits {
        setrlimit(resource, soft, hard).map_err(BootError::call("setrlimit"))?;
    }
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", AGENT_OOM_SCORE) {
        eprintln!("thaw: oom_score_adj: {error}");
    }
    Ok(())
}
