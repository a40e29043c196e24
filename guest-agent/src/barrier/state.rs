//! The state behind the barrier. Its methods are the arrows of the drawing in [`super`].

use std::collections::VecDeque;

use super::{BarrierError, EnterRequest, Environment, Epoch, View};

/// Epochs remembered. A chain of snapshots of restored machines adds one each; the oldest are
/// forgotten, and an epoch is random anyway.
const MAX_EPOCHS: usize = 1024;

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Booted,
    Running,
    Frozen,
}

#[derive(Debug, Default)]
pub(super) struct State {
    phase: Phase,
    /// All epochs entered, the current one last.
    epochs: VecDeque<Epoch>,
    environment: Environment,
}

impl State {
    pub(super) fn view(&self) -> View {
        View {
            epoch: self.epochs.back().copied(),
            frozen: self.phase == Phase::Frozen,
            open: self.is_open(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Running
    }

    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    pub(super) fn freeze(&mut self) {
        self.phase = Phase::Frozen;
    }

    /// Whether the request may pass; changes nothing.
    pub(super) fn check(&self, request: &EnterRequest) -> Result<(), BarrierError> {
        let epoch = request.epoch;
        if request.same_machine {
            let undoes = self.phase == Phase::Frozen && self.epochs.back() == Some(&epoch);
            return if undoes {
                Ok(())
            } else {
                Err(BarrierError::NotFrozenHere(epoch))
            };
        }
        if self.epochs.contains(&epoch) {
            return Err(BarrierError::EpochUsed(epoch));
        }
        Ok(())
    }

    /// Takes what a checked request says, after the machine has become the new one.
    pub(super) fn enter(&mut self, request: EnterRequest) {
        self.phase = Phase::Running;
        self.environment = request.environment;
        if !request.same_machine {
            if self.epochs.len() >= MAX_EPOCHS {
                self.epochs.pop_front();
            }
            self.epochs.push_back(request.epoch);
        }
    }
}
