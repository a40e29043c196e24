//! PID 1 after boot: waits for signals, reaps, and ends the machine.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::end::{power_off, reset};

/// What PID 1 waits for. All others keep the kernel's default, which for PID 1 is to ignore them.
const SIGNALS: [Signal; 3] = [
    Signal::SIGCHLD,
    // Power off: from the agent, and as other inits understand them.
    Signal::SIGTERM,
    Signal::SIGPWR,
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

/// Reaps orphans until the machine ends: it powers off on request, and resets when the agent died, without
/// which nobody can reach the guest.
pub fn reap(agent: Pid) -> ! {
    loop {
        match signals().wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(death) = reap_all(agent) {
                    reset(&format!("the agent ended: {death}"));
                }
            }
            Ok(_) => power_off(),
            Err(errno) => reset(&format!("sigwait: {errno}")),
        }
    }
}

/// Reaps all that has ended; says how the agent died if it is among them.
fn reap_all(agent: Pid) -> Option<String> {
    let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
    let mut death = None;
    loop {
        match waitpid(None::<Pid>, Some(flags)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return death,
            Ok(status) if status.pid() == Some(agent) => match death_of(status) {
                Some(how) => death = Some(how),
                // SIGSTOP cannot be ignored, and a `kill -STOP -1` is not meant for the agent.
                None => drop(kill(agent, Signal::SIGCONT)),
            },
            Ok(_) | Err(_) => {}
        }
    }
}

/// How a process died; `None` when it only stopped.
fn death_of(status: WaitStatus) -> Option<String> {
    match status {
        WaitStatus::Exited(_, code) => Some(format!("it exited with status {code}")),
        WaitStatus::Signaled(_, signal, _) => Some(format!(
            "signal {} ({}) killed it",
            signal as i32,
            signal.as_str()
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use super::*;

    fn child_of(line: &str) -> (Child, Pid) {
        let mut command = Command::new("sh");
        let child = command.args(["-c", line]).process_group(0).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        (child, pid)
    }

    #[test]
    fn a_death_names_its_signal_or_status() {
        for (line, said) in [
            ("kill -9 $$", "signal 9 (SIGKILL) killed it"),
            ("kill -11 $$", "signal 11 (SIGSEGV) killed it"),
            ("exit 3", "it exited with status 3"),
        ] {
            let (_child, pid) = child_of(line);
            let status = waitpid(pid, None).unwrap();
            assert_eq!(death_of(status).as_deref(), Some(said));
        }
    }

    #[test]
    fn a_stop_is_no_death() {
        let (_child, pid) = child_of("kill -STOP $$; exit 0");
        let status = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert!(matches!(status, WaitStatus::Stopped(..)));
        assert_eq!(death_of(status), None);
        kill(pid, Signal::SIGCONT).unwrap();
        assert!(death_of(waitpid(pid, None).unwrap()).is_some());
    }
}
