//! How a life comes to its end, and what is told of it.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::sys::signal::Signal;

use super::console::last_words;
use super::record::{Failure, FailureReason, Phase, StopReason};
use crate::error::{Error, chain};
use crate::vmm::VmmEnd;

/// Why a sandbox ends.
#[derive(Debug)]
pub enum End {
    /// Somebody wanted it.
    Stopped(StopReason),
    /// The guest or its vmm ended.
    Vmm(VmmEnd),
    /// It cannot go on.
    Fault(Error),
}

impl End {
    /// The phase to publish. `console` is the last of the guest's output.
    pub fn phase(&self, console: String) -> Phase {
        let (reason, message) = match self {
            Self::Stopped(reason) => return Phase::Stopped(*reason),
            Self::Vmm(VmmEnd::PoweredOff) => return Phase::Stopped(StopReason::PoweredOff),
            Self::Vmm(VmmEnd::Reset(message)) => {
                (FailureReason::GuestReset, reset_message(message, &console))
            }
            Self::Vmm(VmmEnd::GaveUp(message)) => (
                FailureReason::VmmDied,
                format!("the vmm gave up: {message}"),
            ),
            Self::Vmm(VmmEnd::CutOff) => (
                FailureReason::VmmDied,
                "the vmm's socket broke; it was killed".into(),
            ),
            Self::Vmm(VmmEnd::Died { status, last_words }) => {
                (FailureReason::VmmDied, death_message(*status, last_words))
            }
            Self::Fault(error) => (fault_reason(error), chain(error)),
        };
        Phase::Failed(Failure {
            reason,
            message,
            console_tail: console,
        })
    }
}

fn fault_reason(error: &Error) -> FailureReason {
    match error {
        Error::BootTimeout(_) => FailureReason::BootTimeout,
        Error::AgentProtocol(_) | Error::AgentTimeout { .. } | Error::Agent(_) => {
            FailureReason::AgentProtocol
        }
        Error::SnapshotNotFound(_)
        | Error::SnapshotDamaged { .. }
        | Error::SnapshotIncompatible { .. }
        | Error::ImageNotFound(_)
        | Error::ImageUnusable { .. } => FailureReason::BadSource,
        _ => FailureReason::HostError,
    }
}

fn reset_message(message: &str, console: &str) -> String {
    match last_words(console) {
        Some(words) => format!("the guest reset itself: {words}"),
        None if message.is_empty() => "the guest reset itself".into(),
        None => format!("the guest reset itself: {message}"),
    }
}

fn death_message(status: Option<ExitStatus>, last_words: &str) -> String {
    let how = match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("the vmm exited with status {code}"),
        Some((None, Some(number))) => {
            let name = Signal::try_from(number).map_or("unknown", Signal::as_str);
            format!("the vmm was killed by signal {number} ({name})")
        }
        _ => "the vmm died".into(),
    };
    if last_words.is_empty() {
        how
    } else {
        format!("{how}; it last said: {last_words}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(end: End, console: &str) -> (FailureReason, String) {
        match end.phase(console.into()) {
            Phase::Failed(failure) => (failure.reason, failure.message),
            phase => panic!("{phase:?}"),
        }
    }

    #[test]
    fn deaths_name_signal_status_and_panic() {
        let killed = End::Vmm(VmmEnd::Died {
            status: Some(ExitStatus::from_raw(9)),
            last_words: String::new(),
        });
        assert_eq!(
            message(killed, ""),
            (
                FailureReason::VmmDied,
                "the vmm was killed by signal 9 (SIGKILL)".into()
            )
        );
        let exited = End::Vmm(VmmEnd::Died {
            status: Some(ExitStatus::from_raw(1 << 8)),
            last_words: "no kvm".into(),
        });
        assert_eq!(
            message(exited, "").1,
            "the vmm exited with status 1; it last said: no kvm"
        );
        let panicked = End::Vmm(VmmEnd::Reset("triple fault".into()));
        assert_eq!(
            message(panicked, "x\nKernel panic - not syncing: y\n").1,
            "the guest reset itself: Kernel panic - not syncing: y"
        );
    }
}
