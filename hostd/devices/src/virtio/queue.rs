//! A queue that its driver has enabled: chains come out, used buffers and interrupts go back.

use std::io;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex};

use thiserror::Error;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use crate::event_loop::lock;
use crate::pci::msix::Msix;

/// A descriptor chain in guest memory.
pub type Chain<'m> = DescriptorChain<&'m GuestMemoryMmap>;

/// Chains that one event may handle. A driver that refills a queue as fast as it is emptied
/// cannot keep the event loop from the other devices, or from being paused, for longer.
pub const MAX_CHAINS_PER_EVENT: usize = 128;

/// Bytes of buffers after which an event handles no further chain, for the same reason: a few of the
/// largest requests that Linux makes.
pub const MAX_BYTES_PER_EVENT: u64 = 4 << 20;

/// `VRING_AVAIL_F_NO_INTERRUPT`.
const AVAIL_NO_INTERRUPT: u16 = 1;

/// The driver broke the rules of its ring, which only a reset can mend.
#[derive(Debug, Error)]
pub enum QueueError {
    /// Indices, addresses or descriptors that cannot be.
    #[error("virtio queue {queue} is broken")]
    Ring {
        /// Number of the queue.
        queue: u16,
        /// What the ring code said.
        source: virtio_queue::Error,
    },
    /// A chain of more descriptors than the ring has, by way of an indirect table.
    #[error("virtio queue {queue}: a chain of more than {size} descriptors")]
    Long {
        /// Number of the queue.
        queue: u16,
        /// Descriptors of the ring.
        size: u16,
    },
    /// An eventfd of the host cannot be used.
    #[error("virtio queue {queue}: notification descriptor")]
    Kick {
        /// Number of the queue.
        queue: u16,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A ring in guest memory, the eventfd that the driver notifies it by, and its interrupt.
pub struct ActiveQueue {
    ring: Queue,
    index: u16,
    vector: u16,
    kick: EventFd,
    msix: Arc<Mutex<Msix>>,
    /// Chains returned since the driver was last asked whether it wants an interrupt.
    unsignalled: u16,
}

impl ActiveQueue {
    /// A queue over a ring that has been found valid.
    pub(crate) fn new(
        ring: Queue,
        index: u16,
        vector: u16,
        kick: EventFd,
        msix: Arc<Mutex<Msix>>,
    ) -> Self {
        Self {
            ring,
            index,
            vector,
            kick,
            msix,
            unsignalled: 0,
        }
    }

    /// Descriptors of the ring.
    pub fn size(&self) -> u16 {
        self.ring.size()
    }

    /// The next chain that the driver has made available.
    ///
    /// # Errors
    /// When the driver claims more chains than the ring can hold, or more descriptors in one.
    pub fn pop<'m>(
        &mut self,
        memory: &'m GuestMemoryMmap,
    ) -> Result<Option<Chain<'m>>, QueueError> {
        Ok(self.pop_measured(memory)?.map(|(chain, _)| chain))
    }

    /// The next chain and the bytes of its buffers.
    fn pop_measured<'m>(
        &mut self,
        memory: &'m GuestMemoryMmap,
    ) -> Result<Option<(Chain<'m>, u64)>, QueueError> {
        let (queue, size) = (self.index, self.ring.size());
        let chains = self.ring.iter(memory);
        let next = chains
            .map_err(|source| QueueError::Ring { queue, source })?
            .next();
        let Some(chain) = next else {
            return Ok(None);
        };
        let (mut descriptors, mut bytes) = (0, 0);
        for descriptor in chain.clone() {
            descriptors += 1;
            bytes += u64::from(descriptor.len());
            if descriptors > size {
                return Err(QueueError::Long { queue, size });
            }
        }
        Ok(Some((chain, bytes)))
    }

    /// Puts the chain that was popped last back, to be popped again.
    pub fn undo_pop(&mut self) {
        self.ring.go_to_previous_position();
    }

    /// Returns a chain to the driver, `len` bytes of it written.
    ///
    /// # Errors
    /// When the chain's head is not a descriptor of this ring.
    pub fn add_used(
        &mut self,
        memory: &GuestMemoryMmap,
        head: u16,
        len: u32,
    ) -> Result<(), QueueError> {
        let added = self.ring.add_used(memory, head, len);
        added.map_err(|source| self.broken(source))?;
        self.unsignalled = self.unsignalled.wrapping_add(1);
        Ok(())
    }

    /// Returns several chains, each with its length, of which the driver sees either all or none: it would not wait
    /// for the rest of a packet.
    ///
    /// # Errors
    /// As [`add_used`](Self::add_used).
    pub fn add_used_together(
        &mut self,
        memory: &GuestMemoryMmap,
        chains: &[(u16, u32)],
    ) -> Result<(), QueueError> {
        let Some(((head, len), before)) = chains.split_last() else {
            return Ok(());
        };
        let next = self.ring.next_used();
        // Elements beyond the ring's index are the device's own until the index is moved, which the last one does.
        for ((head, len), at) in before.iter().zip(0..) {
            self.put_used(memory, next.wrapping_add(at), *head, *len)?;
        }
        self.ring
            .set_next_used(next.wrapping_add(before.len() as u16));
        self.unsignalled = self.unsignalled.wrapping_add(before.len() as u16);
        self.add_used(memory, *head, *len)
    }

    /// Fills an element of the used ring.
    fn put_used(
        &self,
        memory: &GuestMemoryMmap,
        at: u16,
        head: u16,
        len: u32,
    ) -> Result<(), QueueError> {
        if head >= self.ring.size() {
            return Err(self.broken(virtio_queue::Error::InvalidDescriptorIndex));
        }
        let slot = u64::from(at % self.ring.size());
        let element = u64::from(head) | u64::from(len) << 32;
        let place = GuestAddress(self.ring.used_ring() + 4 + 8 * slot);
        let stored = memory.write_slice(&element.to_le_bytes(), place);
        stored.map_err(|error| self.broken(virtio_queue::Error::GuestMemory(error)))
    }

    /// Interrupts the driver, if it wants to know about what was returned since the last call.
    ///
    /// # Errors
    /// When the ring is not in memory any more.
    pub fn signal(&mut self, memory: &GuestMemoryMmap) -> Result<(), QueueError> {
        // What was returned has to be seen by a driver whose wish is not seen here yet.
        fence(Ordering::SeqCst);
        let wanted = if self.ring.event_idx_enabled() {
            let returned = self.ring.next_used();
            let event = self.used_event(memory)?;
            returned.wrapping_sub(event).wrapping_sub(1) < self.unsignalled
        } else {
            !self.is_muted(memory)
        };
        self.unsignalled = 0;
        if wanted {
            lock(&self.msix).trigger(self.vector);
        }
        Ok(())
    }

    /// Asks the driver to notify when it adds a chain. Returns whether it has added one already.
    ///
    /// # Errors
    /// When the ring is not in memory any more.
    pub fn enable_kicks(&mut self, memory: &GuestMemoryMmap) -> Result<bool, QueueError> {
        let pending = self.ring.enable_notification(memory);
        pending.map_err(|source| self.broken(source))
    }

    /// Tells the driver that it need not notify: the queue is being looked at anyway.
    ///
    /// # Errors
    /// When the ring is not in memory any more.
    pub fn disable_kicks(&mut self, memory: &GuestMemoryMmap) -> Result<(), QueueError> {
        let disabled = self.ring.disable_notification(memory);
        disabled.map_err(|source| self.broken(source))
    }

    /// How many chains the driver has made available since it began, modulo 2^16.
    ///
    /// # Errors
    /// When the ring is not in memory any more.
    pub fn available(&self, memory: &GuestMemoryMmap) -> Result<u16, QueueError> {
        let filled = self.ring.avail_idx(memory, Ordering::Acquire);
        filled
            .map(|filled| filled.0)
            .map_err(|source| self.broken(source))
    }

    /// Asks to be notified of the next chain beyond those that are available now, which are
    /// left alone. Returns [`available`](Self::available) as it was then.
    ///
    /// # Errors
    /// When the ring is not in memory any more.
    pub fn kick_on_refill(&mut self, memory: &GuestMemoryMmap) -> Result<u16, QueueError> {
        let filled = self.available(memory)?;
        if !self.ring.event_idx_enabled() {
            self.enable_kicks(memory)?;
            return Ok(filled);
        }
        // `avail_event`, the field behind the used ring's last element.
        let at = self.ring.used_ring() + 4 + 8 * u64::from(self.ring.size());
        let stored = memory.store(filled.to_le(), GuestAddress(at), Ordering::SeqCst);
        stored.map_err(|error| self.broken(virtio_queue::Error::GuestMemory(error)))?;
        Ok(filled)
    }

    /// Calls `each` for every available chain and returns the chain with the length that `each`
    /// says was written; then interrupts the driver once.
    ///
    /// # Errors
    /// When the ring is broken.
    pub fn drain<'m>(
        &mut self,
        memory: &'m GuestMemoryMmap,
        mut each: impl FnMut(Chain<'m>) -> u32,
    ) -> Result<(), QueueError> {
        let (mut chains, mut bytes) = (MAX_CHAINS_PER_EVENT, MAX_BYTES_PER_EVENT);
        loop {
            self.disable_kicks(memory)?;
            while chains > 0
                && bytes > 0
                && let Some((chain, len)) = self.pop_measured(memory)?
            {
                let head = chain.head_index();
                let written = each(chain);
                self.add_used(memory, head, written)?;
                chains -= 1;
                bytes = bytes.saturating_sub(len);
            }
            if chains == 0 || bytes == 0 {
                self.kick()?;
                break;
            }
            if !self.enable_kicks(memory)? {
                break;
            }
        }
        self.signal(memory)
    }

    /// Makes the event loop come back to this queue.
    ///
    /// # Errors
    /// When the eventfd cannot be written.
    pub fn kick(&self) -> Result<(), QueueError> {
        let queue = self.index;
        self.kick
            .write(1)
            .map_err(|source| QueueError::Kick { queue, source })
    }

    /// After a pause or restore: nothing may have been lost. The event loop comes back to the
    /// queue, and the driver is interrupted if it may not have seen all that was returned.
    pub(crate) fn resume(&mut self, memory: &GuestMemoryMmap) -> Result<(), QueueError> {
        if !self.is_muted(memory) && self.may_have_unseen(memory) {
            lock(&self.msix).trigger(self.vector);
        }
        self.kick()
    }

    /// How far device and driver have come: next available and next used index.
    pub(crate) fn progress(&self) -> (u16, u16) {
        (self.ring.next_avail(), self.ring.next_used())
    }

    /// With event indices a driver that waits for interrupts has set `used_event` to the first
    /// index that it has not seen.
    fn may_have_unseen(&self, memory: &GuestMemoryMmap) -> bool {
        if !self.ring.event_idx_enabled() {
            return true;
        }
        let seen = self.used_event(memory);
        seen.map_or(true, |seen| seen != self.ring.next_used())
    }

    /// The index of the element that a driver with event indices waits for: the field behind the available ring's
    /// last element.
    fn used_event(&self, memory: &GuestMemoryMmap) -> Result<u16, QueueError> {
        let at = self.ring.avail_ring() + 4 + 2 * u64::from(self.ring.size());
        let event = memory.load::<u16>(GuestAddress(at), Ordering::Acquire);
        event
            .map(u16::from_le)
            .map_err(|error| self.broken(virtio_queue::Error::GuestMemory(error)))
    }

    /// Without event indices a driver asks for silence by a flag, which the ring code ignores.
    fn is_muted(&self, memory: &GuestMemoryMmap) -> bool {
        if self.ring.event_idx_enabled() {
            return false;
        }
        let flags = memory.load::<u16>(GuestAddress(self.ring.avail_ring()), Ordering::Relaxed);
        flags.is_ok_and(|flags| u16::from_le(flags) & AVAIL_NO_INTERRUPT != 0)
    }

    fn broken(&self, source: virtio_queue::Error) -> QueueError {
        QueueError::Ring {
            queue: self.index,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use virtio_queue::desc::RawDescriptor;
    use virtio_queue::desc::split::Descriptor;
    use vm_memory::{Bytes, GuestAddress};

    use crate::event_loop::EventHandler;
    use crate::testing::{Buffer, DATA, Driver, write};
    use crate::virtio::rng::Rng;
    use crate::virtio::transport::status;

    #[test]
    fn large_buffers_end_an_event_early() {
        let mut driver = Driver::started(Rng::new());
        for _ in 0..3 {
            driver.offer(0, &[write(DATA, 3 << 20)]);
        }
        driver.function.on_event(0);
        assert_eq!(driver.used(0).len(), 2);
        driver.run();
        assert_eq!(driver.used(0).len(), 1);
    }

    /// Whether the device takes a chain whose indirect table has so many descriptors.
    fn takes_table_of(descriptors: u16) -> bool {
        const NEXT: u16 = 1;
        const WRITE: u16 = 2;
        const INDIRECT: u16 = 4;
        let mut driver = Driver::started(Rng::new());
        for at in 0..descriptors {
            let next = if at + 1 < descriptors { NEXT } else { 0 };
            let raw = Descriptor::new(DATA, 1, WRITE | next, at + 1);
            let place = GuestAddress(DATA + 0x1000 + 16 * u64::from(at));
            driver
                .memory
                .write_obj(RawDescriptor::from(raw), place)
                .unwrap();
        }
        driver.send(
            0,
            &[Buffer {
                address: DATA + 0x1000,
                len: 16 * u32::from(descriptors),
                flags: INDIRECT,
            }],
        );
        driver.status() & status::NEEDS_RESET == 0
    }

    #[test]
    fn a_chain_is_at_most_as_long_as_its_ring() {
        assert!(takes_table_of(16));
        assert!(!takes_table_of(17));
        assert!(!takes_table_of(0x7fff));
    }
}
