//! How PID 1 ends the machine.
//!
//! The host tells the two ends apart: a machine that powers off was asked to and is recorded as stopped; one that
//! resets has failed, and the last of its console is kept as the reason.

use std::io::{Write, stderr};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::termios::tcdrain;

/// How long the console may take for the last words. The guest's root may have stopped its output for good.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Flushes file systems and powers the machine off.
pub(super) fn power_off() -> ! {
    nix::unistd::sync();
    end(RebootMode::RB_POWER_OFF)
}

/// Says why on the console and resets the machine. Nothing is flushed: a disk that hangs must not keep the
/// host from hearing of it.
pub(super) fn reset(reason: &str) -> ! {
    say(format!("thaw: {reason}\n"));
    end(RebootMode::RB_AUTOBOOT)
}

fn end(mode: RebootMode) -> ! {
    let Err(errno) = reboot(mode);
    say(format!("thaw: reboot: {errno}\n"));
    // The end of PID 1 is a panic of the kernel, which the host notices too.
    std::process::exit(1)
}

/// Writes to the console and waits until the words have left the machine, within [`LAST_WORDS`].
fn say(words: String) {
    let (said, heard) = mpsc::channel();
    // A thread, because a write to a console that stands still does not end.
    let speaker = std::thread::Builder::new().spawn(move || {
        let _ = stderr().write_all(words.as_bytes());
        let _ = tcdrain(stderr());
        let _ = said.send(());
    });
    if speaker.is_ok() {
        let _ = heard.recv_timeout(LAST_WORDS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_on_something_that_is_no_terminal_are_said_at_once() {
        let start = std::time::Instant::now();
        say(String::new());
        assert!(start.elapsed() < LAST_WORDS);
    }
}
