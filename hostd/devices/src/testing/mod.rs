//! What unit tests and fuzz targets share: stand-ins for the kernel's side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

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
    pub fn routed(&self) -> Vec<(u16, MsiMessage)> {
        self.routed.lock().unwrap().clone()
    }

    pub fn triggered(&self) -> Vec<u16> {
        self.triggered.lock().unwrap().clone()
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
