//! Frames of the guest, on their way to the tap.

use std::io::Read;
use std::time::Instant;

use virtio_queue::Reader;
use vm_memory::GuestMemoryMmap;

use super::Net;
use super::events::{Budget, TRANSMIT};
use super::frame::{self, HEADER_BYTES};
use crate::virtio::{Chain, DeviceIo, QueueError};

impl Net {
    /// Takes frames of the guest, as fast as they may pass.
    pub(super) fn transmit(&mut self, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        let features = io.features;
        let Some((memory, queue)) = io.queue(TRANSMIT) else {
            return Ok(());
        };
        self.held = false;
        let mut budget = Budget::of_event();
        queue.disable_kicks(memory)?;
        loop {
            if !self.is_unheard()
                && let Some(wait) = self.from_guest.wait(Instant::now)
            {
                self.held = true;
                self.watch.wake_after(wait);
                break;
            }
            if budget.is_spent() {
                queue.kick()?;
                break;
            }
            let Some(chain) = queue.pop(memory)? else {
                if queue.enable_kicks(memory)? {
                    continue;
                }
                self.stale = false;
                break;
            };
            let head = chain.head_index();
            budget.spend(self.send(memory, chain, features));
            queue.add_used(memory, head, 0)?;
        }
        queue.signal(memory)
    }

    /// Whether what the guest sends is thrown away.
    fn is_unheard(&self) -> bool {
        self.stale || self.control.is_muted()
    }

    /// Sends the frame in a chain, if it is one. What the tap does not take is lost, as on any network. Returns how many
    /// bytes were looked at.
    fn send(&mut self, memory: &GuestMemoryMmap, chain: Chain<'_>, features: u64) -> usize {
        if self.is_unheard() {
            self.control.drop_frame();
            return 0;
        }
        let Some(bytes) = copy(memory, chain, &mut self.outgoing) else {
            self.control.drop_frame();
            return 0;
        };
        let length = bytes.len().saturating_sub(HEADER_BYTES);
        // A rate is one of attempts: what is no frame costs as much as one.
        self.from_guest.spend(length);
        if !frame::admit(bytes, features) {
            self.control.drop_frame();
        } else if let Err(error) = self.tap.send(bytes) {
            tracing::debug!(%error, "a frame that the tap does not take");
            self.control.drop_frame();
        } else {
            self.control.count_from_guest(length);
        }
        length
    }
}

/// The bytes of a chain; `None` when there are more than any frame has, or they are not in memory.
fn copy<'b>(
    memory: &GuestMemoryMmap,
    chain: Chain<'_>,
    buffer: &'b mut [u8],
) -> Option<&'b mut [u8]> {
    let mut reader = Reader::new(memory, chain).ok()?;
    let bytes = buffer.get_mut(..reader.available_bytes())?;
    reader.read_exact(bytes).ok()?;
    Some(bytes)
}
