//! PID 1 after boot: waits for signals, reaps, and ends the machine.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::failure::power_off;

/// What PID 1 waits for. All others keep the kernel's default, which for PID 1 is to ignore them.
const SIGNALS: [Signal; 4] = [
    Signal::SIGCHLD,
    // Power off: from the agent, and as other inits understand them.
    Signal::SIGTERM,
    Signal::SIGPWR,
    Signal::SIGINT,
];

/// Blocks the signals of [`reap`]. Done before the fork, so that none is lost.
pub(super) fn block_signals() -> Result<(), Errno> {
    signals().thread_block()
}

/// Undoes [`block_signals`] in the agent.
pub(super) fn unblock_signals() -> Result<(), Errno> {
    signals().thread_unblock()
}

fn signals() -> SigSet {
    SIGNALS.into_iter().collect()
}

/// Reaps orphans until the machine ends: on request, or because the agent died, without which nobody
/// can reach the guest.
pub fn reap(agent: Pid) -> ! {
    loop {
        match signals().wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(death) = reap_all(agent) {
                    eprintln!("thaw: the agent ended: {death}");
                    power_off();
                }
            }
            Ok(_) => power_off(),
            Err(errno) => eprintln!("thaw: sigwait: {errno}"),
        }
    }
}

/// Reaps all that has ended; says how the agent died if it is among them.
fn reap_all(agent: Pid) -> Option<String> {
    let mut death = None;
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return death,
            Ok(status) if status.pid() == Some(agent) => death = Some(format!("{status:?}")),
            Ok(_) | Err(_) => {}
        }
    }
}
