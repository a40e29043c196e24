//! The queues' notifications: one eventfd each, signalled by the kernel when the guest writes
//! to the queue's address, wherever the BAR happens to be.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::layout::{NOTIFY_STRIDE, Part};
use crate::pci::NotifyRegistry;

/// The notifications of all of a function's queues, enabled or not.
pub struct Kicks {
    fds: Vec<EventFd>,
    registry: Arc<dyn NotifyRegistry>,
    /// The BAR's address that they are registered for.
    bar: Option<u64>,
}

impl Kicks {
    /// Notifications for so many queues, not registered yet.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn new(queues: usize, registry: Arc<dyn NotifyRegistry>) -> io::Result<Self> {
        let fds = (0..queues)
            .map(|_| EventFd::new(EFD_NONBLOCK))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            fds,
            registry,
            bar: None,
        })
    }

    /// The descriptors, in the order of queues.
    pub fn fds(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.fds.iter().map(AsRawFd::as_raw_fd)
    }

    /// Number of queues.
    pub fn len(&self) -> usize {
        self.fds.len()
    }

    /// Another handle of a queue's notification.
    ///
    /// # Errors
    /// When there are no descriptors left, or no such queue.
    pub fn handle(&self, queue: usize) -> io::Result<EventFd> {
        let fd = self.fds.get(queue).ok_or(io::ErrorKind::NotFound)?;
        fd.try_clone()
    }

    /// Notifies a queue, as the guest would; nothing happens if there is no such queue.
    pub fn kick(&self, queue: usize) {
        if let Some(fd) = self.fds.get(queue) {
            // It fails only when the counter is full, and then the event is pending anyway.
            let _ = fd.write(1);
        }
    }

    /// Takes back a queue's notification. Whether there was one does not matter: another
    /// thread's reset may have been here first.
    pub fn clear(&self, queue: usize) {
        if let Some(fd) = self.fds.get(queue) {
            let _ = fd.read();
        }
    }

    /// Follows the BAR to its new address. While the BAR is not decoded the old registrations
    /// stay: drivers switch decoding off and on while they probe, and in the kernel a change is
    /// slow.
    pub fn follow(&mut self, bar: Option<u64>) {
        if bar.is_none() || bar == self.bar {
            return;
        }
        self.unregister();
        self.bar = bar;
        for (address, fd) in self.addresses() {
            if let Err(error) = self.registry.register(address, fd) {
                tracing::debug!(address, %error, "queue notifications cost an exit each");
            }
        }
    }

    fn unregister(&self) {
        for (address, fd) in self.addresses() {
            if let Err(error) = self.registry.unregister(address, fd) {
                tracing::debug!(address, %error, "no queue notification to take back");
            }
        }
    }

    fn addresses(&self) -> impl Iterator<Item = (u64, &EventFd)> {
        let base = self
            .bar
            .map(|bar| bar.wrapping_add(Part::Notify.offset().into()));
        let queues = self.fds.iter().zip(0u64..);
        queues.filter_map(move |(fd, queue)| {
            Some((base?.wrapping_add(queue * u64::from(NOTIFY_STRIDE)), fd))
        })
    }
}

impl Drop for Kicks {
    fn drop(&mut self) {
        self.unregister();
    }
}
