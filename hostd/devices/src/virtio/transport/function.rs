//! The function's side towards the bus: configuration space, BAR, and notification addresses.

use std::sync::Arc;

use super::layout::{NOTIFY_STRIDE, Part};
use super::{VirtioDevice, VirtioPci};
use crate::event_loop::lock;
use crate::pci::{BarWindow, FunctionState, PciFunction};

/// Offset of the message control field within the MSI-X capability.
const MSIX_CONTROL: u16 = 2;

impl<D: VirtioDevice> PciFunction for VirtioPci<D> {
    fn config_read(&mut self, offset: u16, data: &mut [u8]) {
        self.config.read(offset, data);
    }

    fn config_write(&mut self, offset: u16, data: &[u8]) {
        self.config.write(offset, data);
        self.follow_bar();
        let control_at = self.msix_at + MSIX_CONTROL;
        let end = usize::from(offset) + data.len();
        if offset < control_at + 2 && end > usize::from(control_at) {
            let mut control = [0; 2];
            self.config.read(control_at, &mut control);
            lock(&self.msix).set_control(u16::from_le_bytes(control));
        }
    }

    fn bars(&self) -> Vec<Arc<BarWindow>> {
        vec![self.window.clone()]
    }

    fn bar_read(&mut self, _bar: usize, offset: u64, data: &mut [u8]) {
        data.fill(0);
        match Part::of(offset, data.len() as u64) {
            Some((Part::Common, at)) => self.registers.read(at, data),
            Some((Part::Device, at)) => self.device.read_config(at, data),
            Some((Part::MsixTable, at)) => lock(&self.msix).read_table(at, data),
            Some((Part::MsixPending, at)) => lock(&self.msix).read_pending(at, data),
            // Interrupt status says nothing under MSI-X, and there are no other interrupts.
            Some((Part::Isr | Part::Notify, _)) | None => {}
        }
    }

    fn bar_write(&mut self, _bar: usize, offset: u64, data: &[u8]) {
        match Part::of(offset, data.len() as u64) {
            Some((Part::Common, at)) => {
                let written = self.registers.write(at, data, &self.memory);
                self.apply(written);
            }
            Some((Part::Device, at)) => self.device.write_config(at, data),
            // Seen only if the kernel would not take the notification off our hands.
            Some((Part::Notify, at)) => self.kicks.kick((at / u64::from(NOTIFY_STRIDE)) as usize),
            Some((Part::MsixTable, at)) => lock(&self.msix).write_table(at, data),
            Some((Part::Isr | Part::MsixPending, _)) | None => {}
        }
    }

    fn save(&self) -> FunctionState {
        FunctionState::Virtio(self.state())
    }
}
