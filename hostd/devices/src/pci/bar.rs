//! Where a BAR is at the moment.

use std::sync::atomic::{AtomicU64, Ordering};

use super::PciError;

/// No access matches a BAR at this base: a BAR's base has at least its four low bits clear.
const CLOSED: u64 = u64::MAX;

/// A memory BAR's place in guest physical memory, shared between the function, which moves it,
/// and the bus, which decodes addresses.
#[derive(Debug)]
pub struct BarWindow {
    base: AtomicU64,
    size: u64,
}

impl BarWindow {
    /// A window of `size` bytes that is not decoded yet.
    ///
    /// # Errors
    /// [`PciError::BadBar`] unless the size is a power of two of at least 16.
    pub fn new(size: u64) -> Result<Self, PciError> {
        if !size.is_power_of_two() || size < 16 {
            return Err(PciError::BadBar { address: 0, size });
        }
        Ok(Self {
            base: AtomicU64::new(CLOSED),
            size,
        })
    }

    /// Bytes in the window.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Guest physical address of the first byte; `None` while the function does not decode.
    pub fn base(&self) -> Option<u64> {
        Some(self.base.load(Ordering::Acquire)).filter(|base| *base != CLOSED)
    }

    /// Moves the window, or closes it.
    pub fn place(&self, base: Option<u64>) {
        self.base.store(base.unwrap_or(CLOSED), Ordering::Release);
    }

    /// The offset of an access of `len` bytes at `address`, if the window holds all of it.
    pub fn offset_of(&self, address: u64, len: u64) -> Option<u64> {
        let offset = address.checked_sub(self.base()?)?;
        (offset < self.size && len <= self.size - offset).then_some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_only_whole_accesses() {
        let window = BarWindow::new(0x100).unwrap();
        assert_eq!(window.offset_of(0x1000, 4), None);
        window.place(Some(0x1000));
        assert_eq!(window.offset_of(0x1000, 4), Some(0));
        assert_eq!(window.offset_of(0x10fc, 4), Some(0xfc));
        assert_eq!(window.offset_of(0x10fd, 4), None);
        assert_eq!(window.offset_of(0xfff, 4), None);
        window.place(Some(u64::MAX - 0xff));
        assert_eq!(window.offset_of(u64::MAX, 1), Some(0xff));
        window.place(None);
        assert_eq!(window.offset_of(u64::MAX, 1), None);
    }

    #[test]
    fn refuses_sizes_that_pci_cannot_say() {
        assert!(BarWindow::new(0).is_err());
        assert!(BarWindow::new(8).is_err());
        assert!(BarWindow::new(0x180).is_err());
    }
}
