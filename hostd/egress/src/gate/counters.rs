//! What one sandbox's connections came to, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts up as connections come.
#[derive(Debug, Default)]
pub(super) struct Counters {
    accepted: AtomicU64,
    limited: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    passed: AtomicU64,
    opened: AtomicU64,
}

/// The numbers since the sandbox got its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections that the guest made.
    pub accepted: u64,
    /// Of these, reset at once: too many at a time, or too fast.
    pub limited: u64,
    /// Refused by the policy, or for what they said. Requests that are refused within an opened
    /// connection are not here.
    pub refused: u64,
    /// Allowed, but the host could not be reached.
    pub failed: u64,
    /// Passed through.
    pub passed: u64,
    /// Opened, and read as HTTP.
    pub opened: u64,
}

impl Counters {
    pub(super) fn accepted(&self) {
        add(&self.accepted);
    }

    pub(super) fn limited(&self) {
        add(&self.limited);
    }

    pub(super) fn refused(&self) {
        add(&self.refused);
    }

    pub(super) fn failed(&self) {
        add(&self.failed);
    }

    pub(super) fn passed(&self) {
        add(&self.passed);
    }

    pub(super) fn opened(&self) {
        add(&self.opened);
    }

    pub(super) fn read(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            accepted: read(&self.accepted),
            limited: read(&self.limited),
            refused: read(&self.refused),
            failed: read(&self.failed),
            passed: read(&self.passed),
            opened: read(&self.opened),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
