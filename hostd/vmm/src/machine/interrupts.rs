//! How devices reach the guest and the guest reaches devices, through KVM.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use devices::pci::{MsiMessage, MsiRoutes, NotifyRegistry};
use vm_memory::GuestAddress;
use vmm_sys_util::eventfd::EventFd;

use crate::kvm::Vm;

/// The message interrupts of one function.
#[derive(Debug)]
pub struct Messages {
    vm: Vm,
    of_vector: Mutex<Vec<MsiMessage>>,
}

impl Messages {
    /// `vectors` interrupts that lead nowhere yet.
    pub fn new(vm: Vm, vectors: u16) -> Self {
        Self {
            vm,
            of_vector: Mutex::new(vec![MsiMessage::default(); usize::from(vectors)]),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<MsiMessage>> {
        self.of_vector
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl MsiRoutes for Messages {
    fn route(&self, vector: u16, message: MsiMessage) -> io::Result<()> {
        match self.lock().get_mut(usize::from(vector)) {
            Some(place) => {
                *place = message;
                Ok(())
            }
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    fn trigger(&self, vector: u16) -> io::Result<()> {
        let message = self.lock().get(usize::from(vector)).copied();
        let message = message.ok_or(io::ErrorKind::InvalidInput)?;
        self.vm
            .signal_msi(message.address, message.data)
            .map_err(io::Error::other)
    }
}

/// Queue notifications as ioeventfds, which the main loop registers when it has time.
///
/// Each registration makes the kernel wait until no vCPU looks at the table that it changes: for ten queues
/// that is longer than the rest of a restore. Until then a notification is an exit like any other register
/// write, which works and costs a few microseconds more.
#[derive(Debug)]
pub struct Notifications {
    vm: Vm,
    pending: Mutex<Vec<(u64, EventFd)>>,
}

impl Notifications {
    /// Notifications of `vm`.
    pub fn new(vm: Vm) -> Self {
        Self {
            vm,
            pending: Mutex::default(),
        }
    }

    /// Whether something waits for [`Notifications::register_next`].
    pub fn has_pending(&self) -> bool {
        !self.pending().is_empty()
    }

    /// Registers one of those that wait.
    pub fn register_next(&self) {
        // Locked all the time, so that nobody takes back what is half registered.
        let mut pending = self.pending();
        let Some((address, event)) = pending.pop() else {
            return;
        };
        if let Err(error) = self.vm.bind_ioeventfd(&event, GuestAddress(address)) {
            tracing::debug!(address, %error, "queue notifications cost an exit each");
        }
    }

    fn pending(&self) -> MutexGuard<'_, Vec<(u64, EventFd)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NotifyRegistry for Notifications {
    fn register(&self, address: u64, event: &EventFd) -> io::Result<()> {
        self.pending().push((address, event.try_clone()?));
        Ok(())
    }

    fn unregister(&self, address: u64, event: &EventFd) -> io::Result<()> {
        let mut pending = self.pending();
        if let Some(at) = pending.iter().position(|(other, _)| *other == address) {
            pending.swap_remove(at);
            return Ok(());
        }
        self.vm
            .unbind_ioeventfd(event, GuestAddress(address))
            .map_err(io::Error::other)
    }
}
