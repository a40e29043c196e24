//! Memory for output that nobody has asked for yet: one budget for all programs.
//!
//! ```text
//!   a sixteenth of the machine's memory, at least 4 MiB
//!    ├── each stream that nobody is attached to: up to 1 MiB while there is some, 4 KiB in any case
//!    └── of it, for all programs that have ended: a quarter, at most 8 MiB
//! ```
//!
//! Without it a few dozen talkative programs whose clients went away would take all memory of a small guest, and
//! with it the agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which part of the machine's memory the budget is.
const PART_OF_MEMORY: u64 = 16;
/// The budget of the smallest machine, in bytes.
const LEAST_BUDGET_BYTES: usize = 4 << 20;
/// What one stream may keep, in bytes.
pub(super) const MAX_SHARE_BYTES: usize = 1 << 20;
/// What each stream may keep even when the budget is used up, in bytes: enough for a last error message. Shares grow
/// in multiples of it.
pub(super) const MIN_SHARE_BYTES: usize = 4 << 10;
/// Which part of the budget ended programs may keep, so that most of it is there for those that run.
const PART_FOR_ENDED: usize = 4;
/// What ended programs may keep on a large machine, in bytes.
const MAX_ENDED_BYTES: usize = 8 << 20;

/// The memory, and how much of it is in use.
pub(super) struct Budget {
    bytes: usize,
    /// More than there is when many streams have only their least share.
    taken: AtomicUsize,
}

impl Budget {
    /// For a machine with so much memory, in bytes.
    pub(super) fn new(memory_bytes: u64) -> Self {
        let part = usize::try_from(memory_bytes / PART_OF_MEMORY).unwrap_or(usize::MAX);
        Self {
            bytes: part.max(LEAST_BUDGET_BYTES),
            taken: AtomicUsize::new(0),
        }
    }

    /// What ended programs may keep of it, in bytes, all together.
    pub(super) fn for_ended(&self) -> usize {
        (self.bytes / PART_FOR_ENDED).min(MAX_ENDED_BYTES)
    }

    /// Takes what is free of `wanted` bytes, but at least `least`; answers how much.
    fn take(&self, wanted: usize, least: usize) -> usize {
        let mut granted = 0;
        let add = |taken: usize| {
            let free = self.bytes.saturating_sub(taken);
            let whole = free - free % MIN_SHARE_BYTES;
            granted = wanted.min(whole.max(least));
            taken.checked_add(granted)
        };
        match self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
        {
            Ok(_) => granted,
            Err(_) => 0,
        }
    }

    /// Bytes that are in use.
    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn give_back(&self, bytes: usize) {
        self.taken.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What one stream has taken of the budget. Dropping it gives it back.
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// Nothing yet.
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Its size in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Grows to `bytes` as far as the budget has it, within [`MIN_SHARE_BYTES`] and [`MAX_SHARE_BYTES`].
    pub(super) fn grow(&mut self, bytes: usize) {
        let goal = bytes.clamp(MIN_SHARE_BYTES, MAX_SHARE_BYTES);
        let wanted = goal.saturating_sub(self.bytes);
        let least = MIN_SHARE_BYTES.saturating_sub(self.bytes);
        self.bytes += self.budget.take(wanted, least);
    }

    /// Gives back what is more than `bytes`.
    pub(super) fn shrink(&mut self, bytes: usize) {
        let excess = self.bytes.saturating_sub(bytes);
        self.bytes -= excess;
        self.budget.give_back(excess);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_follows_the_machine() {
        let sizes = |memory| {
            let budget = Budget::new(memory);
            (budget.bytes, budget.for_ended())
        };
        assert_eq!(sizes(0), (4 << 20, 1 << 20));
        assert_eq!(sizes(256 << 20), (16 << 20, 4 << 20));
        assert_eq!(sizes(16 << 30), (1 << 30, 8 << 20));
        assert_eq!(sizes(u64::MAX).1, 8 << 20);
    }

    #[test]
    fn who_comes_late_gets_the_rest_and_then_the_least() {
        let budget = Arc::new(Budget::new(0));
        let share = |bytes| {
            let mut share = Share::new(budget.clone());
            share.grow(bytes);
            share
        };
        let first: Vec<Share> = (0..3).map(|_| share(usize::MAX)).collect();
        let some = share(5000);
        assert_eq!(some.bytes(), 5000);
        let rest = share(MAX_SHARE_BYTES);
        assert_eq!(rest.bytes(), MAX_SHARE_BYTES - 2 * MIN_SHARE_BYTES);
        let late: Vec<Share> = (0..100).map(|_| share(MAX_SHARE_BYTES)).collect();
        assert!(late.iter().all(|late| late.bytes() == MIN_SHARE_BYTES));
        drop((first, some, rest, late));
        assert_eq!(budget.taken(), 0);
    }

    #[test]
    fn what_one_gives_back_another_takes() {
        let budget = Arc::new(Budget::new(0));
        let mut shares: Vec<Share> = (0..5).map(|_| Share::new(budget.clone())).collect();
        for share in &mut shares {
            share.grow(MAX_SHARE_BYTES);
        }
        assert_eq!(shares[4].bytes(), MIN_SHARE_BYTES);
        shares[0].shrink(10);
        assert_eq!(shares[0].bytes(), 10);
        // What the last one had beyond the budget is made up for first.
        shares[4].grow(MAX_SHARE_BYTES);
        assert_eq!(shares[4].bytes(), MAX_SHARE_BYTES - MIN_SHARE_BYTES);
        shares[4].grow(1);
        assert_eq!(shares[4].bytes(), MAX_SHARE_BYTES - MIN_SHARE_BYTES);
    }
}
