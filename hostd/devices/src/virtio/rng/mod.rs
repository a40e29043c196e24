//! virtio-rng: entropy from the host's kernel, as much as the guest asks for.

mod events;
mod request;
mod state;

pub use state::RngState;

use super::{DeviceIo, DeviceState, DeviceType, QueueError, StateError, VirtioDevice};

/// One queue, of few descriptors: a guest asks for a few bytes at a time.
const QUEUE_SIZES: &[u16] = &[64];

/// The entropy device.
#[derive(Debug, Default)]
pub struct Rng {}

impl Rng {
    /// A source of entropy.
    pub fn new() -> Self {
        Self::default()
    }
}

impl VirtioDevice for Rng {
    fn device_type(&self) -> DeviceType {
        DeviceType::Rng
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &'static [u16] {
        QUEUE_SIZES
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn reset(&mut self) {}

    fn on_queue(&mut self, queue: usize, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        events::on_queue(queue, io)
    }

    fn save(&self) -> DeviceState {
        DeviceState::Rng(RngState::new())
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), StateError> {
        match state {
            DeviceState::Rng(state) => state.validate(),
            _ => Err(StateError::Kind),
        }
    }
}
