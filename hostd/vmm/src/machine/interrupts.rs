//! How devices reach the guest and the guest reaches devices, through KVM.

use std::io;
use std::sync::{Mutex, PoisonError};

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

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<MsiMessage>> {
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

/// Queue notifications as ioeventfds.
#[derive(Debug)]
pub struct Notifications {
    vm: Vm,
}

impl Notifications {
    /// Notifications of `vm`.
    pub fn new(vm: Vm) -> Self {
        Self { vm }
    }
}

impl NotifyRegistry for Notifications {
    fn register(&self, address: u64, event: &EventFd) -> io::Result<()> {
        self.vm
            .bind_ioeventfd(event, GuestAddress(address))
            .map_err(io::Error::other)
    }

    fn unregister(&self, address: u64, event: &EventFd) -> io::Result<()> {
        self.vm
            .unbind_ioeventfd(event, GuestAddress(address))
            .map_err(io::Error::other)
    }
}
