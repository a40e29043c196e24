//! Signals that are passed on instead of ending this program.

use std::sync::atomic::{AtomicI32, Ordering};

use anyhow::{Result, ensure};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Those that users and supervisors send.
const PASSED_ON: &[Signal] = &[
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// The last signal that has not been passed on yet; 0 for none.
static PENDING: AtomicI32 = AtomicI32::new(0);

/// The last signal that came at all; 0 for none.
static CAME: AtomicI32 = AtomicI32::new(0);

/// Fails once a signal has come: for those who have several things to do, one after the other.
///
/// # Errors
/// When a signal asked this program to end.
pub fn check() -> Result<()> {
    let signal = CAME.load(Ordering::Relaxed);
    ensure!(signal == 0, "interrupted by signal {signal}");
    Ok(())
}

/// The signal that came since the last call.
pub fn take() -> Option<i32> {
    Some(PENDING.swap(0, Ordering::Relaxed)).filter(|signal| *signal != 0)
}

extern "C" fn note(signal: i32) {
    PENDING.store(signal, Ordering::Relaxed);
    CAME.store(signal, Ordering::Relaxed);
}

/// From now on signals are noted.
///
/// # Errors
/// When the kernel refuses.
#[expect(unsafe_code, reason = "installing a signal handler is unsafe")]
pub fn watch() -> Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(note),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in PASSED_ON {
        // SAFETY: the handler stores to two atomics and does nothing else.
        unsafe { sigaction(*signal, &action) }?;
    }
    Ok(())
}
