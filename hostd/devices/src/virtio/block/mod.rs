//! virtio-blk: a disk.

mod backend;
mod config;
mod events;
mod request;
mod state;
#[cfg(test)]
mod tests;

pub use backend::{BlockBackend, FileBackend};
pub use state::BlockState;

use super::{DeviceIo, DeviceState, DeviceType, QueueError, StateError, VirtioDevice, copy_config};

/// Bytes of a sector, the unit of all addresses on the wire.
pub const SECTOR: u64 = 512;

/// Descriptors in the one queue.
const QUEUE_SIZE: u16 = 256;
const QUEUE_SIZES: &[u16] = &[QUEUE_SIZE];

/// Bytes copied between backend and guest at a time. A request of any shape is then few calls
/// of the backend, and the backend needs to know nothing of guest memory.
const BOUNCE_BYTES: usize = 128 << 10;

/// `VIRTIO_BLK_T_GET_ID` gives this many bytes.
const ID_BYTES: usize = 20;

/// A disk over a backend.
pub struct Block {
    backend: Box<dyn BlockBackend>,
    id: [u8; ID_BYTES],
    /// Empty until the driver is there: an unused disk costs no memory.
    bounce: Vec<u8>,
}

impl Block {
    /// A disk with what is in `backend`. The guest sees up to 20 bytes of `id` as its serial
    /// number (`/dev/disk/by-id/virtio-ID`).
    pub fn new(backend: Box<dyn BlockBackend>, id: &str) -> Self {
        let mut bytes = [0; ID_BYTES];
        bytes
            .iter_mut()
            .zip(id.bytes())
            .for_each(|(to, from)| *to = from);
        Self {
            backend,
            id: bytes,
            bounce: Vec::new(),
        }
    }

    /// The disk's size; what does not fill a sector is not visible.
    fn sectors(&self) -> u64 {
        self.backend.len() / SECTOR
    }
}

impl VirtioDevice for Block {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn features(&self) -> u64 {
        config::features(self.backend.as_ref())
    }

    fn queue_sizes(&self) -> &'static [u16] {
        QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        copy_config(&config::bytes(self.sectors()), offset, data);
    }

    fn reset(&mut self) {
        self.bounce = Vec::new();
    }

    fn on_queue(&mut self, queue: usize, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        self.handle_queue(queue, io)
    }

    fn save(&self) -> DeviceState {
        DeviceState::Block(BlockState::new(self.sectors(), self.backend.read_only()))
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), StateError> {
        match state {
            DeviceState::Block(state) => state.validate(self.sectors(), self.backend.read_only()),
            _ => Err(StateError::Kind),
        }
    }
}
