//! The keyboard controller, as far as `reboot=k` needs it: ports 0x60 to 0x64.
//!
//! A guest has to be told by ACPI that there is none (no 8042 flag in the FADT), or its driver
//! probes for keyboards at length.

use super::{PowerRequest, PowerSink};
use crate::bus::BusDevice;

/// First port.
pub const BASE: u64 = 0x60;
/// Ports in the range.
pub const SIZE: u64 = 5;

/// Offset of port 0x64: status when read, command when written.
const COMMAND: u64 = 4;
/// Pulses the CPU's reset line.
const RESET_CPU: u8 = 0xfe;

/// A controller without keyboard. It always reads as "nothing there, ready for commands".
pub struct I8042 {
    power: PowerSink,
}

impl I8042 {
    /// A controller whose reset line leads to `power`.
    pub fn new(power: PowerSink) -> Self {
        Self { power }
    }
}

impl BusDevice for I8042 {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if offset == COMMAND && data == [RESET_CPU] {
            (self.power)(PowerRequest::Reset);
        }
    }
}
