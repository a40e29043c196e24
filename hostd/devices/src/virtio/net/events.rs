//! The card's events: frames of the guest, room for frames to it, frames in the tap, the end of a wait, and what the
//! machine's side has changed.

use std::time::Instant;

use super::Net;
use super::limit::Limiter;
use crate::virtio::queue::{MAX_BYTES_PER_EVENT, MAX_CHAINS_PER_EVENT};
use crate::virtio::{DeviceIo, QueueError};

pub const RECEIVE: usize = 0;
pub const TRANSMIT: usize = 1;

impl Net {
    pub(super) fn handle_queue(
        &mut self,
        queue: usize,
        io: &mut DeviceIo<'_>,
    ) -> Result<(), QueueError> {
        self.begin(io.features);
        match queue {
            TRANSMIT => self.transmit(io),
            _ => self.receive(io),
        }
    }

    pub(super) fn handle_watch(&mut self, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        self.begin(io.features);
        self.watch.end_wait();
        if self.control.take_change() {
            let (limits, now) = (self.control.limits(), Instant::now());
            self.to_guest = Limiter::new(limits.to_guest, now);
            self.from_guest = Limiter::new(limits.from_guest, now);
        }
        if self.held {
            self.transmit(io)?;
        }
        self.receive(io)
    }

    /// The driver is there: what it makes possible begins.
    fn begin(&mut self, features: u64) {
        self.make_buffers();
        self.tap.follow(features);
        self.watch.watch_control();
    }
}

/// How much one event may carry, so that the other devices get their turn.
pub struct Budget {
    chains: usize,
    bytes: u64,
}

impl Budget {
    /// As for every device.
    pub fn of_event() -> Self {
        Self {
            chains: MAX_CHAINS_PER_EVENT,
            bytes: MAX_BYTES_PER_EVENT,
        }
    }

    /// A frame has been handled, whatever became of it.
    pub fn spend(&mut self, bytes: usize) {
        self.chains = self.chains.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes as u64);
    }

    /// Whether the rest has to wait for the next event.
    pub fn is_spent(&self) -> bool {
        self.chains == 0 || self.bytes == 0
    }
}
