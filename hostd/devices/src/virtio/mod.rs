//! Virtio 1.x devices over PCI.
//!
//! [`transport`] owns everything that devices have in common: registers, status, features,
//! queues, interrupts, saved state. A device ([`VirtioDevice`]) is what is left, and each has
//! the same files:
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | control: construction, features, configuration space |
//! | `events.rs` | which queue or descriptor woke us, and what to do then |
//! | `request.rs`, `packet.rs`, … | pure logic on one descriptor chain |
//! | `state.rs` | what is saved, and its validation |

pub mod balloon;
pub mod block;
pub mod net;
pub mod queue;
pub mod rng;
pub mod transport;
pub mod vsock;

#[cfg(test)]
mod tests;

use std::os::fd::RawFd;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vm_memory::GuestMemoryMmap;

pub use queue::{ActiveQueue, Chain, QueueError};
pub use transport::{Resources, TransportError, VirtioPci, VirtioPciState};

/// The virtio device types that this crate has, with the numbers of the spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum DeviceType {
    /// A network card.
    Net = 1,
    /// A disk.
    Block = 2,
    /// A source of entropy.
    Rng = 4,
    /// A memory balloon.
    Balloon = 5,
    /// Sockets between guest and host.
    Vsock = 19,
}

/// What a device gets to work with while it handles an event.
pub struct DeviceIo<'a> {
    /// Guest memory.
    pub memory: &'a GuestMemoryMmap,
    /// The device's queues by number; `None` where the driver has not enabled one.
    pub queues: &'a mut [Option<ActiveQueue>],
    /// The features that the driver has accepted.
    pub features: u64,
}

impl<'a> DeviceIo<'a> {
    /// A queue and the memory it lies in; `None` if the driver has not enabled it.
    pub fn queue(&mut self, index: usize) -> Option<(&'a GuestMemoryMmap, &mut ActiveQueue)> {
        let memory = self.memory;
        Some((memory, self.queues.get_mut(index)?.as_mut()?))
    }
}

/// The part of a virtio device that is its own. Methods are called with the device locked;
/// those with a [`DeviceIo`] only between the driver's `DRIVER_OK` and a reset.
pub trait VirtioDevice: Send + 'static {
    /// Which kind of device it is.
    fn device_type(&self) -> DeviceType;

    /// The device's own feature bits to offer. The transport adds those of rings and version.
    fn features(&self) -> u64;

    /// The largest size of each queue, in descriptors; powers of two.
    fn queue_sizes(&self) -> &'static [u16];

    /// Fills `data` from the device's configuration space. What lies beyond it is zero.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Takes a write to the device's configuration space; most have nothing to write.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    /// The driver is gone: everything that it brought about is to be forgotten. Until the next
    /// [`on_queue`](Self::on_queue) none of the [`sources`](Self::sources) may be readable.
    fn reset(&mut self);

    /// Descriptors to watch beside the queues' notifications. Asked once.
    fn sources(&self) -> Vec<RawFd> {
        Vec::new()
    }

    /// The driver has notified the queue `queue`, or may have.
    ///
    /// # Errors
    /// When the driver broke the ring's rules: the device then needs a reset.
    fn on_queue(&mut self, queue: usize, io: &mut DeviceIo<'_>) -> Result<(), QueueError>;

    /// The descriptor number `source` of [`sources`](Self::sources) is readable.
    ///
    /// # Errors
    /// As [`on_queue`](Self::on_queue).
    fn on_source(&mut self, _source: usize, _io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        Ok(())
    }

    /// The device's own state, beside the transport's.
    fn save(&self) -> DeviceState;

    /// Takes over a saved state, into a device that is new. Nothing else has been called yet.
    ///
    /// # Errors
    /// When this device cannot have been in that state.
    fn restore(&mut self, state: &DeviceState) -> Result<(), StateError>;
}

/// The saved state of any virtio device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceState {
    /// A disk.
    Block(block::BlockState),
    /// A source of entropy.
    Rng(rng::RngState),
    /// A memory balloon.
    Balloon(balloon::BalloonState),
    /// Sockets between guest and host.
    Vsock(vsock::VsockState),
    /// A network card.
    Net(net::NetState),
}

/// Why a device does not take over a saved state.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum StateError {
    /// The state is of another kind of device.
    #[error("saved state is of another kind of device")]
    Kind,
    /// The state has a version that this build does not know.
    #[error("saved state has version {found}, this build knows {known}")]
    Version {
        /// Version of the state.
        found: u32,
        /// Version of this build.
        known: u32,
    },
    /// A value does not fit the device as it is configured now.
    #[error("saved state: {0}")]
    Mismatch(&'static str),
}

impl StateError {
    /// Succeeds if `found` is the version that this build writes.
    pub(crate) fn check_version(found: u32, known: u32) -> Result<(), Self> {
        if found == known {
            return Ok(());
        }
        Err(Self::Version { found, known })
    }
}

/// Copies from a configuration space of `bytes`, with zeros beyond its end.
pub(crate) fn copy_config(bytes: &[u8], offset: u64, data: &mut [u8]) {
    data.fill(0);
    let bytes = bytes
        .iter()
        .skip(usize::try_from(offset).unwrap_or(usize::MAX));
    data.iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
}
