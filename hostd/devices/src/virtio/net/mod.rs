//! virtio-net: a network card, whose other end is a tap of the host.
//!
//! A frame travels behind a header of 12 bytes, which the tap takes and gives in the very form that the queues have it.
//! It is copied once, by way of a buffer: what the guest writes meanwhile changes nothing that has been checked.
//!
//! ```text
//!   guest ── transmit ──▶ copy, check ── limit ──▶ tap      not taken by the tap: lost
//!   guest ◀── receive ── buffers ◀── limit ◀── copy ◀── tap  no buffers, no tokens, muted: stays in the tap
//! ```
//!
//! A *muted* card is a cable that is not plugged in: frames of the guest are thrown away, and those for it stay in the
//! tap. A card begins muted or not as its control says; a restored machine's is mute until it has passed its barrier.
//!
//! **Invariant:** a frame that was in the queue when the machine was saved is never sent by a restored one, muted or not:
//! it was said by the machine that was saved, which goes on to send it. Networks lose frames, and whoever missed
//! one asks again.

mod config;
mod control;
mod events;
mod frame;
mod limit;
mod receive;
mod state;
mod tap;
#[cfg(test)]
mod tests;
mod transmit;
mod watch;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

pub use config::Mac;
pub use control::{NetControl, NetCounters};
pub use limit::{Limit, NetLimits, Rate};
pub use state::NetState;
pub use tap::{Tap, TapError};

use super::{DeviceIo, DeviceState, DeviceType, QueueError, StateError, VirtioDevice, copy_config};
use limit::Limiter;
use watch::Watch;

/// Receive, transmit.
const QUEUE_SIZES: &[u16] = &[256, 256];

/// The network card.
pub struct Net {
    mac: Mac,
    tap: Tap,
    watch: Watch,
    control: Arc<NetControl>,
    to_guest: Limiter,
    from_guest: Limiter,
    /// One frame of the guest with its header. Empty until the driver is there: an unused card costs no memory.
    outgoing: Vec<u8>,
    /// One frame for it.
    incoming: Vec<u8>,
    /// How much of `incoming` is a frame that the guest had no room for.
    waiting: usize,
    /// Frames of the guest wait for their turn.
    held: bool,
    /// What is in the transmit queue is from before a restore.
    stale: bool,
}

impl Net {
    /// A card with this address on a tap. `control` is shared with whoever mutes the card, limits it, and reads its
    /// counters.
    ///
    /// # Errors
    /// When the kernel gives no descriptors.
    pub fn new(mac: Mac, tap: Tap, control: Arc<NetControl>) -> io::Result<Self> {
        let watch = Watch::new(tap.as_raw_fd(), control.changed())?;
        let limits = control.limits();
        let now = Instant::now();
        Ok(Self {
            mac,
            tap,
            watch,
            control,
            to_guest: Limiter::new(limits.to_guest, now),
            from_guest: Limiter::new(limits.from_guest, now),
            outgoing: Vec::new(),
            incoming: Vec::new(),
            waiting: 0,
            held: false,
            stale: false,
        })
    }

    /// Room for a frame each way, for as long as there is a driver.
    fn make_buffers(&mut self) {
        for buffer in [&mut self.outgoing, &mut self.incoming] {
            if buffer.is_empty() {
                // Fresh zeros from the kernel: no page of it is touched before it is used.
                *buffer = vec![0; frame::MAX_BYTES];
            }
        }
    }
}

impl VirtioDevice for Net {
    fn device_type(&self) -> DeviceType {
        DeviceType::Net
    }

    fn features(&self) -> u64 {
        config::FEATURES
    }

    fn queue_sizes(&self) -> &'static [u16] {
        QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        copy_config(&config::bytes(self.mac), offset, data);
    }

    fn reset(&mut self) {
        self.watch.rest();
        self.outgoing = Vec::new();
        self.incoming = Vec::new();
        self.waiting = 0;
        self.held = false;
        self.stale = false;
    }

    fn sources(&self) -> Vec<RawFd> {
        vec![self.watch.as_raw_fd()]
    }

    fn on_queue(&mut self, queue: usize, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        self.handle_queue(queue, io)
    }

    fn on_source(&mut self, _source: usize, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        self.handle_watch(io)
    }

    fn save(&self) -> DeviceState {
        DeviceState::Net(NetState::new(self.mac))
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), StateError> {
        let DeviceState::Net(state) = state else {
            return Err(StateError::Kind);
        };
        state.validate(self.mac)?;
        self.stale = true;
        Ok(())
    }
}
