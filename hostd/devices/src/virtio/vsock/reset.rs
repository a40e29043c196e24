//! Telling a restored guest that its streams are gone.
//!
//! A guest handles the event queue and the receive queue at the same time. If it saw a request
//! of a new stream before it saw the event, it would end that stream together with the old
//! ones. So nobody may connect until the guest has given the event's buffer back, which it does
//! when it is through:
//!
//! ```text
//!   Idle --restored--> Due --event sent--> Sent --buffer back--> Idle
//! ```

use vm_memory::GuestMemoryMmap;

use super::packet::Buffers;
use crate::virtio::{ActiveQueue, QueueError};

/// `VIRTIO_VSOCK_EVENT_TRANSPORT_RESET`.
const TRANSPORT_RESET: u32 = 0;

/// Where the guest is in hearing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// There is nothing to tell.
    Idle,
    /// The event has to be sent.
    Due,
    /// The event has been sent. The guest had made so many buffers available by then.
    Sent(u16),
}

impl Reset {
    /// Goes on as far as the guest lets us. Returns whether that was to the end.
    ///
    /// # Errors
    /// When the guest broke the event queue.
    pub fn advance(
        &mut self,
        memory: &GuestMemoryMmap,
        queue: &mut ActiveQueue,
    ) -> Result<bool, QueueError> {
        if *self == Self::Due {
            *self = self.send(memory, queue)?;
        }
        if let Self::Sent(filled) = *self
            && queue.available(memory)? != filled
        {
            *self = Self::Idle;
        }
        Ok(*self == Self::Idle)
    }

    fn send(self, memory: &GuestMemoryMmap, queue: &mut ActiveQueue) -> Result<Self, QueueError> {
        let mut chain = queue.pop(memory)?;
        // A guest that refilled the queue in between believes that nobody wants to be told.
        if chain.is_none() && queue.enable_kicks(memory)? {
            chain = queue.pop(memory)?;
        }
        let Some(chain) = chain else {
            return Ok(self);
        };
        // Before the guest sees the event, so that giving the buffer back is sure to be noticed.
        let filled = queue.kick_on_refill(memory)?;
        let head = chain.head_index();
        let event = TRANSPORT_RESET.to_le_bytes();
        let buffers = Buffers::find(memory, chain.writable());
        let written = buffers.and_then(|buffers| buffers.write_front(&event));
        queue.add_used(memory, head, if written.is_ok() { 4 } else { 0 })?;
        queue.signal(memory)?;
        Ok(Self::Sent(filled))
    }
}
