//! Stand-ins for what KVM does.

use std::io;
use std::sync::Mutex;

use vmm_sys_util::eventfd::EventFd;

use crate::pci::{MsiMessage, MsiRoutes, NotifyRegistry};

/// Interrupt routes that only remember.
#[derive(Default)]
pub struct Routes {
    routed: Mutex<Vec<(u16, MsiMessage)>>,
    triggered: Mutex<Vec<u16>>,
}

impl Routes {
    /// Every route that was set, in order.
    pub fn routed(&self) -> Vec<(u16, MsiMessage)> {
        self.routed.lock().unwrap().clone()
    }

    /// Every vector that was triggered, in order.
    pub fn triggered(&self) -> Vec<u16> {
        self.triggered.lock().unwrap().clone()
    }

    /// The vectors triggered since the last call.
    pub fn take_triggered(&self) -> Vec<u16> {
        std::mem::take(&mut self.triggered.lock().unwrap())
    }
}

impl MsiRoutes for Routes {
    fn route(&self, vector: u16, message: MsiMessage) -> io::Result<()> {
        self.routed.lock().unwrap().push((vector, message));
        Ok(())
    }

    fn trigger(&self, vector: u16) -> io::Result<()> {
        self.triggered.lock().unwrap().push(vector);
        Ok(())
    }
}

/// Notification addresses that only remember.
#[derive(Default)]
pub struct Notifications(Mutex<Vec<u64>>);

impl Notifications {
    /// The addresses registered at the moment.
    pub fn addresses(&self) -> Vec<u64> {
        self.0.lock().unwrap().clone()
    }
}

impl NotifyRegistry for Notifications {
    fn register(&self, address: u64, _event: &EventFd) -> io::Result<()> {
        self.0.lock().unwrap().push(address);
        Ok(())
    }

    fn unregister(&self, address: u64, _event: &EventFd) -> io::Result<()> {
        self.0.lock().unwrap().retain(|known| *known != address);
        Ok(())
    }
}
