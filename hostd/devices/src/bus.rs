//! Dispatch of port and memory-mapped I/O to whichever device owns the address.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

/// What went wrong on a [`Bus`]. On an access this is the guest's doing: hardware answers such a
/// read with all ones and ignores such a write.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BusError {
    /// No device owns the whole of the accessed range.
    #[error("no device at {address:#x}, {len} bytes")]
    Unclaimed {
        /// First address of the access.
        address: u64,
        /// Bytes accessed.
        len: u64,
    },
    /// The range to be added is empty or overlaps one that is taken.
    #[error("range {base:#x}, {len} bytes, is empty or taken")]
    BadRange {
        /// First address of the range.
        base: u64,
        /// Bytes in the range.
        len: u64,
    },
}

/// A device behind a [`Bus`]. Several vCPUs may call at once: a device locks what it has to.
pub trait BusDevice: Send + Sync {
    /// Fills `data` with what the guest reads at `offset` bytes from the start of the range.
    fn read(&self, offset: u64, data: &mut [u8]);
    /// Takes `data` that the guest writes at `offset` bytes from the start of the range.
    fn write(&self, offset: u64, data: &[u8]);
}

struct Entry {
    len: u64,
    device: Arc<dyn BusDevice>,
}

/// An address space of devices: one for ports, one for memory-mapped I/O. It is filled before
/// the vCPUs start; devices that come and go later do so behind the PCI bus.
#[derive(Default)]
pub struct Bus {
    ranges: BTreeMap<u64, Entry>,
}

impl Bus {
    /// An empty address space.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `len` bytes from `base` on to `device`.
    ///
    /// # Errors
    /// [`BusError::BadRange`] when the range is empty, wraps, or overlaps another.
    pub fn insert(
        &mut self,
        base: u64,
        len: u64,
        device: Arc<dyn BusDevice>,
    ) -> Result<(), BusError> {
        let bad = BusError::BadRange { base, len };
        let Some(last) = len.checked_sub(1).and_then(|span| base.checked_add(span)) else {
            return Err(bad);
        };
        if let Some((&other, entry)) = self.ranges.range(..=last).next_back()
            && other + (entry.len - 1) >= base
        {
            return Err(bad);
        }
        self.ranges.insert(base, Entry { len, device });
        Ok(())
    }

    /// Reads `data.len()` bytes at `address`.
    ///
    /// # Errors
    /// [`BusError::Unclaimed`]; `data` is then untouched.
    pub fn read(&self, address: u64, data: &mut [u8]) -> Result<(), BusError> {
        let (offset, device) = self.find(address, data.len() as u64)?;
        device.read(offset, data);
        Ok(())
    }

    /// Writes `data` at `address`.
    ///
    /// # Errors
    /// [`BusError::Unclaimed`].
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), BusError> {
        let (offset, device) = self.find(address, data.len() as u64)?;
        device.write(offset, data);
        Ok(())
    }

    fn find(&self, address: u64, len: u64) -> Result<(u64, &dyn BusDevice), BusError> {
        self.ranges
            .range(..=address)
            .next_back()
            .map(|(base, entry)| (address - base, entry))
            .filter(|(offset, entry)| *offset < entry.len && len <= entry.len - offset)
            .map(|(offset, entry)| (offset, entry.device.as_ref()))
            .ok_or(BusError::Unclaimed { address, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo(u8);

    impl BusDevice for Echo {
        fn read(&self, offset: u64, data: &mut [u8]) {
            data.fill(self.0 + offset as u8);
        }
        fn write(&self, _offset: u64, _data: &[u8]) {}
    }

    #[test]
    fn finds_the_owner_and_the_offset() {
        let mut bus = Bus::new();
        bus.insert(0x100, 0x10, Arc::new(Echo(0))).unwrap();
        bus.insert(0x110, 0x10, Arc::new(Echo(0x40))).unwrap();
        let mut data = [0u8; 1];
        bus.read(0x10f, &mut data).unwrap();
        assert_eq!(data, [0x0f]);
        bus.read(0x111, &mut data).unwrap();
        assert_eq!(data, [0x41]);
    }

    #[test]
    fn refuses_what_no_device_owns_whole() {
        let mut bus = Bus::new();
        bus.insert(0x100, 0x10, Arc::new(Echo(0))).unwrap();
        for (address, len) in [(0xff, 1), (0x10e, 4), (0x110, 1), (u64::MAX, 8)] {
            assert!(bus.read(address, &mut vec![0; len]).is_err());
            assert!(bus.write(address, &vec![0; len]).is_err());
        }
    }

    #[test]
    fn refuses_overlap_and_nonsense() {
        let mut bus = Bus::new();
        bus.insert(0x100, 0x10, Arc::new(Echo(0))).unwrap();
        for (base, len) in [
            (0x100, 1),
            (0x10f, 1),
            (0xf8, 0x10),
            (0, 0x1000),
            (1, 0),
            (u64::MAX, 2),
        ] {
            let refused = bus.insert(base, len, Arc::new(Echo(0)));
            assert_eq!(refused, Err(BusError::BadRange { base, len }));
        }
        bus.insert(u64::MAX, 1, Arc::new(Echo(0))).unwrap();
    }
}
