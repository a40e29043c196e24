//! PCI: one bus of functions with memory BARs and MSI-X, reached through ECAM.

pub mod bar;
pub mod bus;
pub mod config;
pub mod host_bridge;
pub mod msix;

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vmm_sys_util::eventfd::EventFd;

pub use bar::BarWindow;
pub use bus::{ECAM_SIZE, PciBus, SavedFunction, Slot};
pub use host_bridge::HostBridge;
pub use msix::{MsiMessage, MsiRoutes};

use crate::virtio::transport::VirtioPciState;
use config::ConfigState;

/// Lets the kernel turn a guest's write into a readable eventfd, without an exit to user space.
/// With KVM: `KVM_IOEVENTFD` on the MMIO bus, any length, no data match.
pub trait NotifyRegistry: Send + Sync {
    /// From now on a write at guest physical `address` signals `event`.
    ///
    /// # Errors
    /// As the kernel says; the device then still works through exits, only slower.
    fn register(&self, address: u64, event: &EventFd) -> io::Result<()>;

    /// Ends what `register` with the same arguments began.
    ///
    /// # Errors
    /// As the kernel says.
    fn unregister(&self, address: u64, event: &EventFd) -> io::Result<()>;
}

/// One function on the bus. Accesses come from vCPU threads.
pub trait PciFunction: Send {
    /// Reads configuration space; `offset + data.len()` is at most 4096, within one dword.
    fn config_read(&mut self, offset: u16, data: &mut [u8]);
    /// Writes configuration space, under the same bounds.
    fn config_write(&mut self, offset: u16, data: &[u8]);
    /// The function's BARs, in the order that the two calls below number them. The windows are
    /// shared with the bus, which decodes addresses without taking the function's lock.
    fn bars(&self) -> Vec<Arc<BarWindow>>;
    /// Reads from a BAR; the access lies within the BAR's size.
    fn bar_read(&mut self, bar: usize, offset: u64, data: &mut [u8]);
    /// Writes to a BAR; the access lies within the BAR's size.
    fn bar_write(&mut self, bar: usize, offset: u64, data: &[u8]);
    /// Everything that a guest could notice missing after a restore. To be called only while
    /// neither vCPUs nor the event loop run.
    fn save(&self) -> FunctionState;
}

/// The saved state of any PCI function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FunctionState {
    /// [`HostBridge`].
    HostBridge(ConfigState),
    /// A virtio device, its transport included.
    Virtio(VirtioPciState),
}

/// What is wrong with a PCI function's set-up or saved state.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PciError {
    /// A slot beyond the bus, or one that is taken.
    #[error("PCI slot {0} does not exist or is taken")]
    BadSlot(u8),
    /// Capabilities do not fit into configuration space.
    #[error("no room for a PCI capability of {0} bytes")]
    NoRoom(usize),
    /// A BAR's size or address is not what PCI allows.
    #[error("BAR at {address:#x} of {size:#x} bytes")]
    BadBar {
        /// Guest physical address.
        address: u64,
        /// Bytes.
        size: u64,
    },
    /// A saved state that this device cannot have produced.
    #[error("saved PCI state: {0}")]
    BadState(&'static str),
}
