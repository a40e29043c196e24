//! What the guest's root sends to all processes: the agent does not hear it, its programs do.

use std::process::Command;

use nix::sys::signal::{Signal, raise};

use crate::harness::Guest;

/// Set in the process that ignores signals, which is not the one that runs the other tests.
const DEAF: &str = "THAW_TEST_DEAF_AGENT";

#[tokio::test]
async fn a_deaf_agent_starts_programs_that_hear() {
    if std::env::var_os(DEAF).is_none() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "signals::a_deaf_agent_starts_programs_that_hear"]);
        let output = again.env(DEAF, "1").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    guest_agent::agent::ignore_signals();
    for signal in Signal::iterator() {
        let deadly = [
            Signal::SIGKILL,
            Signal::SIGSTOP,
            Signal::SIGSEGV,
            Signal::SIGBUS,
        ];
        if !deadly.contains(&signal) {
            raise(signal).unwrap();
        }
    }
    let mut guest = Guest::running().await;
    let ignored = guest.sh("grep SigIgn /proc/self/status").await;
    assert_eq!(ignored.text(), "SigIgn:\t0000000000000000\n");
    for signal in ["TERM", "HUP", "INT", "USR1", "USR2", "34"] {
        let outcome = guest.sh(&format!("kill -{signal} $$; sleep 60")).await;
        assert!(outcome.signal().is_some(), "{signal}: {outcome:?}");
    }
}
