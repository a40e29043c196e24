//! The PCI bus: which function answers in configuration space (ECAM) and in the MMIO windows.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::{BarWindow, FunctionState, PciError, PciFunction};
use crate::bus::BusDevice;
use crate::event_loop::lock;

/// Slots on the bus. Each holds a single function.
const SLOTS: usize = 32;

/// Bytes of the ECAM region for the one bus that there is.
pub const ECAM_SIZE: u64 = 1 << 20;

/// A slot number, 0 to 31. Slot 0 is the host bridge's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(pub u8);

/// The saved state of the function in a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedFunction {
    /// Where it was.
    pub slot: Slot,
    /// What it was.
    pub state: FunctionState,
}

type Shared = Arc<Mutex<dyn PciFunction>>;

#[derive(Clone)]
struct Occupant {
    function: Shared,
    bars: Vec<Arc<BarWindow>>,
}

/// Bus 0. Functions may come and go while the machine runs.
#[derive(Default)]
pub struct PciBus {
    slots: RwLock<[Option<Occupant>; SLOTS]>,
}

impl PciBus {
    /// A bus with nothing on it, shared with the [`ecam`](Self::ecam) and
    /// [`mmio`](Self::mmio) devices.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Puts a function into a slot.
    ///
    /// # Errors
    /// [`PciError::BadSlot`] when there is no such slot or it is taken.
    pub fn insert(&self, slot: Slot, function: Shared) -> Result<(), PciError> {
        let bars = lock(&function).bars();
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        match slots.get_mut(usize::from(slot.0)) {
            Some(place @ None) => *place = Some(Occupant { function, bars }),
            _ => return Err(PciError::BadSlot(slot.0)),
        }
        Ok(())
    }

    /// Takes a function out of its slot.
    pub fn remove(&self, slot: Slot) -> Option<Shared> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        Some(slots.get_mut(usize::from(slot.0))?.take()?.function)
    }

    /// Every function's state, in the order of slots. To be called only while neither vCPUs nor
    /// the event loop run.
    pub fn save(&self) -> Vec<SavedFunction> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let occupied = slots.iter().zip(0u8..);
        occupied
            .filter_map(|(place, slot)| {
                let state = lock(&place.as_ref()?.function).save();
                Some(SavedFunction {
                    slot: Slot(slot),
                    state,
                })
            })
            .collect()
    }

    /// Configuration space of the whole bus, for a range of [`ECAM_SIZE`] bytes.
    pub fn ecam(self: &Arc<Self>) -> Arc<dyn BusDevice> {
        Arc::new(Ecam(self.clone()))
    }

    /// The BARs, for a range that begins at guest physical address `base`.
    pub fn mmio(self: &Arc<Self>, base: u64) -> Arc<dyn BusDevice> {
        Arc::new(Mmio {
            bus: self.clone(),
            base,
        })
    }

    fn function(&self, slot: usize) -> Option<Shared> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        Some(slots.get(slot)?.as_ref()?.function.clone())
    }

    /// The function and BAR that decode an access, and the offset in that BAR.
    fn decode(&self, address: u64, len: u64) -> Option<(Shared, usize, u64)> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.iter().flatten().find_map(|occupant| {
            let mut bars = occupant.bars.iter().enumerate();
            let (bar, offset) =
                bars.find_map(|(bar, window)| Some((bar, window.offset_of(address, len)?)))?;
            Some((occupant.function.clone(), bar, offset))
        })
    }
}

struct Ecam(Arc<PciBus>);

impl Ecam {
    /// The function and register of an access that stays within one register.
    fn decode(&self, offset: u64, len: usize) -> Option<(Shared, u16)> {
        let register = (offset & 0xfff) as u16;
        let (function, slot) = ((offset >> 12) & 0x7, (offset >> 15) as usize);
        let fits = matches!(len, 1 | 2 | 4) && usize::from(register % 4) + len <= 4;
        if function != 0 || !fits {
            return None;
        }
        Some((self.0.function(slot)?, register))
    }
}

impl BusDevice for Ecam {
    fn read(&self, offset: u64, data: &mut [u8]) {
        match self.decode(offset, data.len()) {
            Some((function, register)) => lock(&function).config_read(register, data),
            // What a guest probing for functions expects of an empty slot.
            None => data.fill(0xff),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        if let Some((function, register)) = self.decode(offset, data.len()) {
            lock(&function).config_write(register, data);
        }
    }
}

struct Mmio {
    bus: Arc<PciBus>,
    base: u64,
}

impl BusDevice for Mmio {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let address = self.base.wrapping_add(offset);
        match self.bus.decode(address, data.len() as u64) {
            Some((function, bar, offset)) => lock(&function).bar_read(bar, offset, data),
            None => data.fill(0xff),
        }
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let address = self.base.wrapping_add(offset);
        if let Some((function, bar, offset)) = self.bus.decode(address, data.len() as u64) {
            lock(&function).bar_write(bar, offset, data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pci::HostBridge;
    use crate::testing::{BAR, Driver};
    use crate::virtio::rng::Rng;

    #[test]
    fn a_guest_finds_functions_and_empty_slots() {
        let bus = PciBus::new();
        let bridge = Arc::new(Mutex::new(HostBridge::new(None).unwrap()));
        bus.insert(Slot(0), bridge.clone()).unwrap();
        assert_eq!(
            bus.insert(Slot(0), bridge.clone()),
            Err(PciError::BadSlot(0))
        );
        assert_eq!(bus.insert(Slot(32), bridge), Err(PciError::BadSlot(32)));

        let ecam = bus.ecam();
        let mut id = [0; 4];
        ecam.read(0, &mut id);
        assert_eq!(id, [0x36, 0x1b, 0x08, 0x00]);
        for nobody in [1 << 12, 1 << 15, 31 << 15, 1 << 20, 2, u64::MAX] {
            ecam.read(nobody, &mut id);
            assert_eq!(id, [0xff; 4], "at {nobody:#x}");
            ecam.write(nobody, &id);
        }

        bus.insert(
            Slot(31),
            Arc::new(Mutex::new(HostBridge::new(None).unwrap())),
        )
        .unwrap();
        let saved: Vec<u8> = bus.save().iter().map(|function| function.slot.0).collect();
        assert_eq!(saved, [0, 31]);

        assert!(bus.remove(Slot(0)).is_some());
        assert!(bus.remove(Slot(99)).is_none());
        ecam.read(0, &mut id);
        assert_eq!(id, [0xff; 4]);
    }

    #[test]
    fn a_bar_answers_where_the_guest_has_put_it() {
        let bus = PciBus::new();
        let driver = Driver::new(Rng::new());
        bus.insert(Slot(1), Arc::new(Mutex::new(driver.function)))
            .unwrap();
        let (ecam, mmio) = (bus.ecam(), bus.mmio(BAR));
        // The number of queues.
        let read = |offset| {
            let mut queues = [0; 2];
            mmio.read(offset, &mut queues);
            queues
        };
        assert_eq!(read(0x12), [1, 0]);
        assert_eq!(read(0x10_0012), [0xff, 0xff]);
        ecam.write(1 << 15 | 0x10, &(BAR as u32 + 0x10_0000).to_le_bytes());
        assert_eq!(read(0x12), [0xff, 0xff]);
        assert_eq!(read(0x10_0012), [1, 0]);
        mmio.write(0x10_0014, &[1]);
        ecam.write(1 << 15 | 0x04, &[0, 0]);
        assert_eq!(read(0x10_0012), [0xff, 0xff]);
    }
}
