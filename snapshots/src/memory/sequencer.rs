//! Places in the file, given out in the order of the work and not of its completion.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Hands out consecutive ranges of the file, batch after batch.
///
/// A worker waits until all batches before its own have their places; then frames lie in the file
/// in the order of the guest's memory, which the index relies on and sequential reads like. Workers
/// hold one batch each, so memory stays bounded.
pub(super) struct Sequencer {
    state: Mutex<State>,
    turn: Condvar,
}

struct State {
    next_batch: usize,
    offset: u64,
    abandoned: bool,
}

impl Sequencer {
    /// Starts with batch 0 at `offset`.
    pub fn new(offset: u64) -> Self {
        let state = State {
            next_batch: 0,
            offset,
            abandoned: false,
        };
        Self {
            state: Mutex::new(state),
            turn: Condvar::new(),
        }
    }

    /// The place for the `bytes` of `batch`; `None` when another worker gave up.
    pub fn place(&self, batch: usize, bytes: usize) -> Option<u64> {
        let mut state = self
            .turn
            .wait_while(self.lock(), |state| {
                state.next_batch != batch && !state.abandoned
            })
            .unwrap_or_else(PoisonError::into_inner);
        if state.abandoned {
            return None;
        }
        let offset = state.offset;
        state.offset += bytes as u64;
        state.next_batch += 1;
        self.turn.notify_all();
        Some(offset)
    }

    /// Where the next batch would go.
    pub fn end(&self) -> u64 {
        self.lock().offset
    }

    /// For a worker to hold: when it is dropped while armed, everybody stops waiting.
    pub fn alarm(&self) -> Alarm<'_> {
        Alarm {
            sequencer: self,
            armed: true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Abandons the work unless it is disarmed, so that neither an error nor a panic of one worker
/// leaves the others waiting for a turn that never comes.
pub(super) struct Alarm<'a> {
    sequencer: &'a Sequencer,
    armed: bool,
}

impl Alarm<'_> {
    /// The worker came to its regular end.
    pub fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.sequencer.lock().abandoned = true;
            self.sequencer.turn.notify_all();
        }
    }
}
