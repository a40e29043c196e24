//! Virtio's modern PCI transport: one function, one BAR, MSI-X.
//!
//! ```text
//!   reset --ACKNOWLEDGE, DRIVER--> negotiating --FEATURES_OK--> configuring --DRIVER_OK--> active
//!     ^                                |                            |                       |
//!     |                                +-----------FAILED-----------+     a broken ring: NEEDS_RESET
//!     +--------------------------- status := 0, from anywhere ------------------------------+
//! ```
//!
//! **Invariant:** a queue's registers change only while it is not enabled, and a queue is
//! enabled only after `FEATURES_OK` and before `DRIVER_OK`, and only if its rings lie in guest
//! memory. The rings that a device works with are built from those registers once, at
//! `DRIVER_OK`.

mod function;
mod layout;
mod notify;
mod registers;
mod state;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex};

use thiserror::Error;

use super::{ActiveQueue, DeviceIo, QueueError, StateError, VirtioDevice};
use crate::Memory;
use crate::event_loop::{EventHandler, Source, lock};
use crate::pci::config::ConfigSpace;
use crate::pci::msix::Msix;
use crate::pci::{BarWindow, MsiRoutes, NotifyRegistry, PciError};
use notify::Kicks;
use registers::{Registers, Written};

#[cfg(test)]
pub(crate) use registers::status;

pub use layout::BAR_SIZE;
pub use state::VirtioPciState;

/// What the machine gives to a virtio function.
pub struct Resources {
    /// Guest memory.
    pub memory: Memory,
    /// The function's interrupts: [`vectors`] of them.
    pub interrupts: Arc<dyn MsiRoutes>,
    /// Where queue notifications are registered.
    pub notify: Arc<dyn NotifyRegistry>,
    /// Guest physical address for the BAR of [`BAR_SIZE`] bytes, aligned to its size; a restored
    /// function is where the guest had put it instead.
    pub bar_address: u64,
}

/// How many interrupt vectors a device needs: one per queue, and one for its configuration.
pub fn vectors(device: &impl VirtioDevice) -> u16 {
    device.queue_sizes().len() as u16 + 1
}

/// Why a function cannot be set up.
#[derive(Debug, Error)]
pub enum TransportError {
    /// Configuration space.
    #[error("PCI function")]
    Pci(#[from] PciError),
    /// The device's own part of a saved state.
    #[error("device state")]
    Device(#[from] StateError),
    /// The transport's part of a saved state.
    #[error("saved transport state: {0}")]
    BadState(&'static str),
    /// A descriptor for a queue.
    #[error("eventfd")]
    EventFd(#[source] io::Error),
}

/// A virtio device as a PCI function: what the bus and the event loop see of it.
pub struct VirtioPci<D> {
    device: D,
    memory: Memory,
    config: ConfigSpace,
    msix_at: u16,
    window: Arc<BarWindow>,
    registers: Registers,
    msix: Arc<Mutex<Msix>>,
    kicks: Kicks,
    /// The rings of the enabled queues, from `DRIVER_OK` to reset.
    queues: Vec<Option<ActiveQueue>>,
}

impl<D: VirtioDevice> VirtioPci<D> {
    /// Puts a device on the bus: a new one, or one as it was saved.
    ///
    /// # Errors
    /// [`TransportError`]; with a state, most likely because this device cannot have been in it.
    pub fn new(
        device: D,
        resources: Resources,
        state: Option<&VirtioPciState>,
    ) -> Result<Self, TransportError> {
        let sizes = device.queue_sizes();
        let msix = Msix::new(vectors(&device), resources.interrupts);
        let (config, msix_at) = layout::config_space(&device, &msix, resources.bar_address)?;
        let kicks = Kicks::new(sizes.len(), resources.notify);
        let mut function = Self {
            registers: Registers::new(device.features(), sizes, msix.vectors()),
            queues: sizes.iter().map(|_| None).collect(),
            device,
            memory: resources.memory,
            config,
            msix_at,
            window: Arc::new(BarWindow::new(BAR_SIZE)?),
            msix: Arc::new(Mutex::new(msix)),
            kicks: kicks.map_err(TransportError::EventFd)?,
        };
        if let Some(state) = state {
            function.restore(state)?;
        }
        function.follow_bar();
        Ok(function)
    }

    /// Changes the device from the machine's side and tells the driver that its configuration
    /// may have changed.
    pub fn update<R>(&mut self, change: impl FnOnce(&mut D) -> R) -> R {
        let result = change(&mut self.device);
        self.registers.config_changed();
        self.interrupt_config();
        result
    }

    /// The device itself.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Acts on what a register write asks for.
    fn apply(&mut self, written: Written) {
        match written {
            Written::Nothing => {}
            Written::Reset => self.reset(),
            Written::Activate => self.activate(),
            Written::Deactivate => self.deactivate(),
        }
    }

    fn reset(&mut self) {
        self.deactivate();
        self.registers.reset();
        // What the old driver had notified is of no interest to the next one.
        (0..self.kicks.len()).for_each(|queue| self.kicks.clear(queue));
    }

    /// `DRIVER_OK`: builds the rings, and has the event loop look at them.
    fn activate(&mut self) {
        match self.build_queues(|_| (0, 0)) {
            Ok(queues) => self.queues = queues,
            Err(error) => {
                tracing::debug!(%error, "cannot activate a virtio device");
                self.needs_reset();
                return;
            }
        }
        (0..self.kicks.len()).for_each(|queue| self.kicks.kick(queue));
    }

    /// Rings for the enabled queues, from their registers and how far each had come.
    fn build_queues(
        &self,
        progress: impl Fn(usize) -> (u16, u16),
    ) -> Result<Vec<Option<ActiveQueue>>, TransportError> {
        (0..self.kicks.len())
            .map(|index| {
                let Some(ring) = self.registers.ring(index, progress(index), &self.memory)? else {
                    return Ok(None);
                };
                let kick = self.kicks.handle(index).map_err(TransportError::EventFd)?;
                let vector = self.registers.queue_vector(index);
                let queue = ActiveQueue::new(ring, index as u16, vector, kick, self.msix.clone());
                Ok(Some(queue))
            })
            .collect()
    }

    /// Lets go of everything that the driver brought about but its registers.
    fn deactivate(&mut self) {
        self.queues.fill_with(|| None);
        self.device.reset();
    }

    /// Gives up on a driver, until it resets the device.
    fn needs_reset(&mut self) {
        self.deactivate();
        self.registers.set_needs_reset();
        self.interrupt_config();
    }

    /// Runs a piece of the device's work. A driver that broke its ring gets no more of it.
    fn work(&mut self, piece: impl FnOnce(&mut D, &mut DeviceIo<'_>) -> Result<(), QueueError>) {
        if !self.registers.is_active() {
            return;
        }
        let mut io = DeviceIo {
            memory: &self.memory,
            queues: &mut self.queues,
            features: self.registers.features(),
        };
        if let Err(error) = piece(&mut self.device, &mut io) {
            tracing::debug!(device = ?self.device.device_type(), %error, "driver broke its queue");
            self.needs_reset();
        }
    }
}

impl<D: VirtioDevice> EventHandler for VirtioPci<D> {
    fn sources(&self) -> Vec<Source> {
        let fds = self.kicks.fds().chain(self.device.sources());
        fds.zip(0..)
            .map(|(fd, token)| Source { fd, token })
            .collect()
    }

    fn on_event(&mut self, token: u16) {
        let token = usize::from(token);
        match token.checked_sub(self.kicks.len()) {
            None => {
                self.kicks.clear(token);
                self.work(|device, io| device.on_queue(token, io));
            }
            Some(source) => self.work(|device, io| device.on_source(source, io)),
        }
    }

    fn resume(&mut self) {
        self.work(|_, io| {
            let memory = io.memory;
            io.queues
                .iter_mut()
                .flatten()
                .try_for_each(|queue| queue.resume(memory))
        });
    }
}

impl<D> VirtioPci<D> {
    /// The BAR may have been moved.
    fn follow_bar(&mut self) {
        let bar = self.config.bar0();
        self.window.place(bar);
        self.kicks.follow(bar);
    }

    fn interrupt_config(&mut self) {
        if self.registers.is_driver_ok() {
            let vector = self.registers.config_vector();
            lock(&self.msix).trigger(vector);
        }
    }
}
