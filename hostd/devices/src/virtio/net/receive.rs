//! Frames in the tap, on their way to the guest.

use std::io::Write;
use std::time::Instant;

use virtio_bindings::virtio_net::VIRTIO_NET_F_MRG_RXBUF;
use virtio_queue::Writer;
use vm_memory::GuestMemoryMmap;

use super::Net;
use super::config::has;
use super::events::{Budget, RECEIVE};
use super::frame::{self, HEADER_BYTES, NUM_BUFFERS};
use crate::virtio::queue::ActiveQueue;
use crate::virtio::{DeviceIo, QueueError};

/// What the guest has for a frame.
enum Room<'m> {
    /// Buffers that hold it, with their heads. One that is not in memory holds nothing.
    Enough(Vec<(u16, Option<Writer<'m>>)>),
    /// Not enough now.
    Later,
    /// Not enough, however long one waits.
    Never,
}

impl Net {
    /// Gives the guest the frames that are in the tap, as long as it has room and they may pass.
    pub(super) fn receive(&mut self, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        let features = io.features;
        let Some((memory, queue)) = io.queue(RECEIVE) else {
            return Ok(());
        };
        queue.disable_kicks(memory)?;
        let goes_on = self.fill_buffers(memory, queue, features)?;
        self.watch.watch_tap(goes_on && !self.tap.is_gone());
        queue.signal(memory)
    }

    /// Returns whether it is the tap's turn: everything else is as it should be.
    fn fill_buffers(
        &mut self,
        memory: &GuestMemoryMmap,
        queue: &mut ActiveQueue,
        features: u64,
    ) -> Result<bool, QueueError> {
        let mut budget = Budget::of_event();
        while !self.control.is_muted() {
            if let Some(wait) = self.to_guest.wait(Instant::now) {
                self.watch.wake_after(wait);
                break;
            }
            if budget.is_spent() {
                queue.kick()?;
                break;
            }
            if self.waiting == 0 && !self.fetch() {
                return Ok(true);
            }
            budget.spend(self.waiting);
            if !frame::suits(self.frame(), features) {
                self.lose();
                continue;
            }
            let available = queue.available(memory)?;
            match self.room(memory, queue, features)? {
                Room::Enough(buffers) => self.deliver(memory, queue, buffers)?,
                Room::Never => self.lose(),
                // It may have made some available in the meantime.
                Room::Later if queue.kick_on_refill(memory)? != available => {}
                Room::Later => break,
            }
        }
        Ok(false)
    }

    /// The frame that waits, with its header.
    fn frame(&self) -> &[u8] {
        self.incoming.get(..self.waiting).unwrap_or_default()
    }

    /// Reads the next frame from the tap. Returns whether there was one.
    fn fetch(&mut self) -> bool {
        match self.tap.receive(&mut self.incoming) {
            Some(length) => {
                // Nothing at all would be no frame that waits.
                self.waiting = length.max(1);
                true
            }
            None => false,
        }
    }

    /// Gives the frame that waits up.
    fn lose(&mut self) {
        self.waiting = 0;
        self.control.drop_frame();
    }

    /// Takes buffers for the frame that waits: one, or as many as it needs when the driver can merge them.
    fn room<'m>(
        &self,
        memory: &'m GuestMemoryMmap,
        queue: &mut ActiveQueue,
        features: u64,
    ) -> Result<Room<'m>, QueueError> {
        let most = match has(features, VIRTIO_NET_F_MRG_RXBUF) {
            true => usize::from(queue.size()),
            false => 1,
        };
        let mut buffers = Vec::new();
        let mut missing = self.waiting;
        while missing > 0 {
            let next = match buffers.len() < most {
                true => queue.pop(memory)?,
                false => None,
            };
            let Some(chain) = next else {
                buffers.iter().for_each(|_| queue.undo_pop());
                return Ok(match buffers.len() < most {
                    true => Room::Later,
                    false => Room::Never,
                });
            };
            let head = chain.head_index();
            let writer = Writer::new(memory, chain).ok();
            let size = writer.as_ref().map_or(0, Writer::available_bytes);
            missing = missing.saturating_sub(size);
            buffers.push((head, writer));
        }
        Ok(Room::Enough(buffers))
    }

    /// Puts the frame that waits into buffers, and gives them back all at once.
    fn deliver(
        &mut self,
        memory: &GuestMemoryMmap,
        queue: &mut ActiveQueue,
        buffers: Vec<(u16, Option<Writer<'_>>)>,
    ) -> Result<(), QueueError> {
        let frame = self.incoming.get_mut(..self.waiting).unwrap_or_default();
        if let Some(count) = frame.get_mut(NUM_BUFFERS..HEADER_BYTES) {
            count.copy_from_slice(&(buffers.len() as u16).to_le_bytes());
        }
        let mut rest: &[u8] = frame;
        let mut used = Vec::with_capacity(buffers.len());
        for (head, writer) in buffers {
            let written = writer.map_or(0, |mut writer| writer.write(rest).unwrap_or(0));
            rest = rest.get(written..).unwrap_or_default();
            used.push((head, written as u32));
        }
        queue.add_used_together(memory, &used)?;
        let length = self.waiting.saturating_sub(HEADER_BYTES);
        self.to_guest.spend(length);
        self.control.count_to_guest(length);
        self.waiting = 0;
        Ok(())
    }
}
