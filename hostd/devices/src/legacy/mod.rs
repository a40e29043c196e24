//! The few devices of a PC that a stock kernel still expects outside PCI.

pub mod acpi;
pub mod serial;

pub use acpi::AcpiPower;
pub use serial::{Serial, SerialState};

/// What a guest asks of the whole machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerRequest {
    /// Power off: ACPI S5.
    Off,
    /// Reboot.
    Reset,
}

/// Where such a request goes. Called on a vCPU thread, which runs on until the vmm stops it.
pub type PowerSink = std::sync::Arc<dyn Fn(PowerRequest) + Send + Sync>;
