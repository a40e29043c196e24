//! virtio-vsock in user space: streams between the guest's ports and unix sockets of the host.
//!
//! A host program connects to the one listening socket, says `CONNECT <port>\n`, and reads
//! `OK <host port>\n` once a program in the guest has accepted. From then on the connection is
//! the stream.

mod connection;
mod credit;
mod events;
mod handshake;
mod mux;
mod packet;
mod reset;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use mux::Mux;
use reset::Reset;
pub use state::VsockState;

use super::{DeviceIo, DeviceState, DeviceType, QueueError, StateError, VirtioDevice, copy_config};

/// Receive, transmit, event.
const QUEUE_SIZES: &[u16] = &[256, 256, 64];

/// The smallest CID that is not reserved.
pub const MIN_GUEST_CID: u32 = 3;

/// Decides what a guest reaches when it connects to the host. Without one, such connections are
/// refused.
pub trait Connector: Send {
    /// Opens a stream for a guest that connects to `port` of the host; must not block.
    ///
    /// # Errors
    /// The guest's connection is refused.
    fn connect(&mut self, port: u32) -> io::Result<UnixStream>;
}

/// The socket device.
pub struct Vsock {
    guest_cid: u64,
    mux: Mux,
    reset: Reset,
    /// Packets of the guest wait until there is room to answer them.
    stalled: bool,
}

impl Vsock {
    /// A device for the guest `guest_cid` whose host programs connect to `listener`, which is
    /// made non-blocking.
    ///
    /// # Errors
    /// When the CID is reserved, or the kernel does not let the listener be watched.
    pub fn new(
        guest_cid: u32,
        listener: UnixListener,
        connector: Option<Box<dyn Connector>>,
    ) -> io::Result<Self> {
        if guest_cid < MIN_GUEST_CID || guest_cid == u32::MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(Self {
            guest_cid: guest_cid.into(),
            mux: Mux::new(guest_cid.into(), listener, connector)?,
            reset: Reset::Idle,
            stalled: false,
        })
    }
}

impl VirtioDevice for Vsock {
    fn device_type(&self) -> DeviceType {
        DeviceType::Vsock
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &'static [u16] {
        QUEUE_SIZES
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        copy_config(&self.guest_cid.to_le_bytes(), offset, data);
    }

    fn reset(&mut self) {
        self.mux.clear();
        self.reset = Reset::Idle;
        self.stalled = false;
    }

    fn sources(&self) -> Vec<RawFd> {
        vec![self.mux.as_raw_fd()]
    }

    fn on_queue(&mut self, queue: usize, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        self.handle_queue(queue, io)
    }

    fn on_source(&mut self, _source: usize, io: &mut DeviceIo<'_>) -> Result<(), QueueError> {
        self.handle_sockets(io)
    }

    fn save(&self) -> DeviceState {
        DeviceState::Vsock(VsockState::new(self.guest_cid, self.mux.next_port()))
    }

    fn restore(&mut self, state: &DeviceState) -> Result<(), StateError> {
        let DeviceState::Vsock(state) = state else {
            return Err(StateError::Kind);
        };
        self.mux.set_next_port(state.validate(self.guest_cid)?);
        self.reset = Reset::Due;
        Ok(())
    }
}
