//! virtio-balloon: the guest gives memory back to the host, when asked to (inflating) or
//! whenever it has some free (free-page reporting).

mod events;
mod pages;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;

use vm_memory::GuestAddress;

pub use state::BalloonState;

use super::{DeviceIo, DeviceState, DeviceType, QueueError, StateError, VirtioDevice, copy_config};

/// `VIRTIO_BALLOON_F_DEFLATE_ON_OOM`: the guest may take pages back before it kills processes.
const F_DEFLATE_ON_OOM: u64 = 1 << 2;
/// `VIRTIO_BALLOON_F_REPORTING`: the guest reports free pages by itself.
const F_REPORTING: u64 = 1 << 5;

/// Inflate, deflate, and (as neither statistics nor hinting are offered) reporting.
const QUEUE_SIZES: &[u16] = &[128, 128, 128];

/// The unit of the balloon, whatever the guest's page size.
pub const PAGE_SIZE: u64 = 4096;

/// What the machine does with memory that the guest does not need.
pub trait MemoryReclaim: Send + Sync {
    /// The guest gives `len` bytes from `start` back: what it reads there next need not be what
    /// it wrote. The range lies within guest memory and is aligned to [`PAGE_SIZE`].
    ///
    /// # Errors
    /// As the kernel says; the memory is then merely not saved.
    fn discard(&self, start: GuestAddress, len: u64) -> io::Result<()>;
}

/// The balloon.
pub struct Balloon {
    /// Pages that the host wants back.
    target: u32,
    /// Pages that the guest says it has given.
    actual: u32,
    reclaim: Arc<dyn MemoryReclaim>,
}

impl Balloon {
    /// A deflated balloon, whose pages go to `reclaim`.
    pub fn new(reclaim: Arc<dyn MemoryReclaim>) -> Self {
        Self {
            target: 0,
            actual: 0,
            reclaim,
        }
    }

    /// Asks the guest to give so many bytes back (rounded down to pages); to be called within
    /// [`VirtioPci::update`](super::VirtioPci::update), which tells the guest.
    pub fn set_target(&mut self, bytes: u64) {
        self.target = u32::try_from(bytes / PAGE_SIZE).unwrap_or(u32::MAX);
    }

    /// Bytes that the guest says it has given back.
    pub fn inflated(&self) -> u64 {
        u64::from(self.actual) * PAGE_SIZE
    }
}

impl VirtioDevice for Balloon {
    fn device_type(&self) -> DeviceType {
        DeviceType::Balloon
    }

    fn features(&self) -> u64 {
        F_DEFLATE_ON_OOM | F_REPORTING
    }

    fn queue_sizes(&self) -> &'static [u16] {
        QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; 8];
        config[..4].copy_from_slice(&self.target.to_le_bytes());
        config[4..].copy_from_slice(&self.actual.to_le_bytes());
        copy_config(&config, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        if let (4, Ok(actual)) = (offset, data.try_into()) {
            self.actual = u32::from_le_bytes(actual);
        }
    }

    fn reset(&mut self) {
        self.actual = 0;
    }

    fn on_queue(&mut self, queue: usize, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        self.handle_queue(queue, io)
    }

    fn save(&self) -> DeviceState {
        DeviceState::Balloon(BalloonState::new(self.target, self.actual))
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), StateError> {
        let DeviceState::Balloon(state) = state else {
            return Err(StateError::Kind);
        };
        (self.target, self.actual) = state.validate()?;
        Ok(())
    }
}
