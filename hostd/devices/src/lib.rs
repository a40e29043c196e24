//! Thaw's devices: what a guest sees of the machine beside CPU and memory. No KVM here.
//!
//! ```text
//!   vCPU threads                             the event-loop thread
//!   ------------                             ---------------------
//!   PIO/MMIO exit                            EventLoop::dispatch
//!        |                                        |
//!       Bus -- PciBus -- PciFunction         EventHandler
//!        |                     \                 /
//!     legacy::*                 VirtioPci<D: VirtioDevice>
//!                                 registers, MSI-X, queues, device
//! ```
//!
//! - A vCPU exit only ever touches registers. Queue notifications are ioeventfds
//!   ([`pci::NotifyRegistry`]), interrupts are messages that the vmm hands to KVM
//!   ([`pci::MsiRoutes`]); it implements both traits.
//! - All queue work happens on the one thread that calls [`EventLoop::dispatch`]. A device is
//!   locked for as long as it works and keeps nothing in flight in between, so a machine is
//!   quiet as soon as its vCPUs are stopped and `dispatch` is no longer called.
//! - [`pci::PciBus::save`] then yields every function's state as one serialisable enum; a
//!   function is started again from an optional state.
//!
//! **Invariant:** nothing that a guest or a saved state says can panic this crate.

pub mod bus;
pub mod event_loop;
pub mod legacy;
pub mod pci;
pub mod virtio;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod testing;

pub use bus::{Bus, BusDevice, BusError};
pub use event_loop::{EventHandler, EventLoop, Source};

/// Guest physical memory. Cloning the `Arc` is how a device keeps it.
pub type Memory = std::sync::Arc<vm_memory::GuestMemoryMmap>;
