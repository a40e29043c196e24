//! The device's events: packets of the guest, room for packets to the guest, and whatever the
//! host's sockets have to tell.

use vm_memory::GuestMemoryMmap;

use super::Vsock;
use super::packet::{Buffers, HEADER_BYTES, Header, MAX_DATA, PacketError};
use crate::virtio::queue::MAX_CHAINS_PER_EVENT;
use crate::virtio::{Chain, DeviceIo, QueueError};

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const EVENT: usize = 2;

impl Vsock {
    pub(super) fn handle_queue(
        &mut self,
        queue: usize,
        io: &mut DeviceIo<'_>,
    ) -> Result<(), QueueError> {
        match queue {
            EVENT => self.welcome(io)?,
            TRANSMIT => self.transmit(io)?,
            _ => {}
        }
        self.receive(io)
    }

    pub(super) fn handle_sockets(&mut self, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        self.mux.on_sockets();
        self.receive(io)
    }

    /// Lets host programs connect, as soon as the guest is ready for them.
    fn welcome(&mut self, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        if let Some((memory, queue)) = io.queue(EVENT)
            && self.reset.advance(memory, queue)?
        {
            self.mux.listen();
        }
        Ok(())
    }

    /// Takes packets of the guest, as long as there is room for what they may provoke.
    fn transmit(&mut self, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        let Some((memory, queue)) = io.queue(TRANSMIT) else {
            return Ok(());
        };
        let mut left = MAX_CHAINS_PER_EVENT;
        queue.disable_kicks(memory)?;
        loop {
            self.stalled = !self.mux.has_room();
            if self.stalled {
                break;
            }
            if left == 0 {
                queue.kick()?;
                break;
            }
            let Some(chain) = queue.pop(memory)? else {
                if queue.enable_kicks(memory)? {
                    continue;
                }
                break;
            };
            left -= 1;
            let head = chain.head_index();
            match parse(memory, chain) {
                Ok((header, data)) => self.mux.on_packet(&header, &data),
                Err(error) => tracing::debug!(%error, "vsock: packet of the guest"),
            }
            queue.add_used(memory, head, 0)?;
        }
        queue.signal(memory)
    }

    /// Gives the guest what there is for it, as long as it has buffers.
    fn receive(&mut self, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        self.fill_buffers(io)?;
        if self.stalled && self.mux.has_room() {
            self.transmit(io)?;
            return self.fill_buffers(io);
        }
        Ok(())
    }

    fn fill_buffers(&mut self, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        let Some((memory, queue)) = io.queue(RECEIVE) else {
            return Ok(());
        };
        let mut left = MAX_CHAINS_PER_EVENT;
        while self.mux.has_packet() {
            if left == 0 {
                queue.kick()?;
                break;
            }
            let Some(chain) = queue.pop(memory)? else {
                if queue.enable_kicks(memory)? {
                    continue;
                }
                break;
            };
            left -= 1;
            let head = chain.head_index();
            match self.fill(memory, chain) {
                Ok(Some(written)) => queue.add_used(memory, head, written)?,
                Ok(None) => queue.undo_pop(),
                Err(error) => {
                    tracing::debug!(%error, "vsock: buffer of the guest");
                    queue.add_used(memory, head, 0)?;
                }
            }
        }
        queue.signal(memory)
    }

    /// Makes one packet in the guest's buffers. Returns its length, or `None` if there was
    /// nothing to say.
    fn fill(
        &mut self,
        memory: &GuestMemoryMmap,
        chain: Chain<'_>,
    ) -> Result<Option<u32>, PacketError> {
        let mut data = Buffers::find(memory, chain.writable())?;
        let front = data.split_header()?;
        let Some(header) = self.mux.next_packet(&data) else {
            return Ok(None);
        };
        front.write_header(&header)?;
        Ok(Some(HEADER_BYTES as u32 + header.len))
    }
}

/// The header and the data of a packet of the guest.
fn parse<'m>(
    memory: &'m GuestMemoryMmap,
    chain: Chain<'m>,
) -> Result<(Header, Buffers<'m>), PacketError> {
    let mut data = Buffers::find(memory, chain.readable())?;
    let header = data.split_header()?.read_header()?;
    if header.len > MAX_DATA {
        return Err(PacketError::Long);
    }
    data.truncate(header.len as usize)?;
    Ok((header, data))
}
