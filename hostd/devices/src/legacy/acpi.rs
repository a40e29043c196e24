//! ACPI's registers of hardware-reduced machines: sleep control, sleep status, and reset.
//!
//! ```text
//!   offset 0  sleep control: SLP_TYP in bits 2..5, SLP_EN is bit 5
//!   offset 1  sleep status: WAK_STS is bit 7; this machine never wakes, it reads as zero
//!   offset 2  reset: RESET_VALUE
//! ```

use super::{PowerRequest, PowerSink};
use crate::bus::BusDevice;

/// Bytes in the range, for ports or memory alike.
pub const SIZE: u64 = 3;
/// Offset of the sleep control register, for the FADT.
pub const SLEEP_CONTROL: u64 = 0;
/// Offset of the sleep status register, for the FADT.
pub const SLEEP_STATUS: u64 = 1;
/// Offset of the reset register, for the FADT.
pub const RESET: u64 = 2;
/// What the FADT tells the guest to write there.
pub const RESET_VALUE: u8 = 1;
/// The sleep type that the DSDT's `_S5` has to name.
pub const S5_SLEEP_TYPE: u8 = 5;

const SLEEP_ENABLE: u8 = 1 << 5;
const SLEEP_TYPE_SHIFT: u8 = 2;

/// The three registers.
pub struct AcpiPower {
    power: PowerSink,
}

impl AcpiPower {
    /// Registers that lead to `power`.
    pub fn new(power: PowerSink) -> Self {
        Self { power }
    }
}

impl BusDevice for AcpiPower {
    fn read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        const POWER_OFF: u8 = SLEEP_ENABLE | S5_SLEEP_TYPE << SLEEP_TYPE_SHIFT;
        match (offset, data) {
            (SLEEP_CONTROL, [POWER_OFF]) => (self.power)(PowerRequest::Off),
            (RESET, [RESET_VALUE]) => (self.power)(PowerRequest::Reset),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn only_the_exact_values_act() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let sink: PowerSink = Arc::new(move |request| log.lock().unwrap().push(request));
        let acpi = AcpiPower::new(sink);
        for (offset, value) in [(0, 0x20), (0, 0x14), (1, 0x34), (2, 0), (3, 1)] {
            acpi.write(offset, &[value]);
        }
        assert_eq!(*seen.lock().unwrap(), []);

        acpi.write(SLEEP_CONTROL, &[0x34]);
        acpi.write(RESET, &[1]);
        let expected = [PowerRequest::Off, PowerRequest::Reset];
        assert_eq!(*seen.lock().unwrap(), expected);
    }
}
