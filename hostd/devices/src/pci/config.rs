//! The 256 bytes of a function's configuration space, and which of their bits a guest may write.

use serde::{Deserialize, Serialize};

use super::PciError;

const SIZE: usize = 256;
const COMMAND: usize = 0x04;
const COMMAND_MEMORY: u8 = 1 << 1;
/// Memory decoding, bus mastering and interrupt disable.
const COMMAND_WRITABLE: [u8; 2] = [0b0000_0110, 0b0000_0100];
const STATUS_LOW: usize = 0x06;
const STATUS_HAS_CAPABILITIES: u8 = 1 << 4;
const BAR0: usize = 0x10;
const BAR_MEMORY_64: u32 = 0b0100;
const CAPABILITIES_POINTER: usize = 0x34;
/// A type 0 header ends here.
const FIRST_CAPABILITY: usize = 0x40;

/// Who a function is.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    /// Vendor id.
    pub vendor: u16,
    /// Device id.
    pub device: u16,
    /// Revision id.
    pub revision: u8,
    /// Class, subclass and programming interface, as the spec's 24-bit number.
    pub class: u32,
    /// Subsystem id; the subsystem's vendor is the vendor.
    pub subsystem: u16,
}

/// Configuration space of a function with a type 0 header. The extended space above 256 bytes
/// reads as zero: no extended capabilities.
#[derive(Debug)]
pub struct ConfigSpace {
    bytes: [u8; SIZE],
    writable: [u8; SIZE],
    last_link: usize,
    free: usize,
}

/// What a guest has written into configuration space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigState {
    bytes: Vec<u8>,
}

impl ConfigSpace {
    /// A function without BARs and capabilities.
    pub fn new(identity: Identity) -> Self {
        let mut space = Self {
            bytes: [0; SIZE],
            writable: [0; SIZE],
            last_link: CAPABILITIES_POINTER,
            free: FIRST_CAPABILITY,
        };
        space.put(0x00, &identity.vendor.to_le_bytes());
        space.put(0x02, &identity.device.to_le_bytes());
        let class = identity.class << 8 | u32::from(identity.revision);
        space.put(0x08, &class.to_le_bytes());
        space.put(0x2c, &identity.vendor.to_le_bytes());
        space.put(0x2e, &identity.subsystem.to_le_bytes());
        space.allow(COMMAND, &COMMAND_WRITABLE);
        space
    }

    /// Makes BARs 0 and 1 one 64-bit memory BAR.
    ///
    /// # Errors
    /// [`PciError::BadBar`] unless `size` is a power of two of at least 16 and `address` a
    /// multiple of it.
    pub fn set_bar0(&mut self, address: u64, size: u64) -> Result<(), PciError> {
        if !size.is_power_of_two() || size < 16 || address & (size - 1) != 0 {
            return Err(PciError::BadBar { address, size });
        }
        self.put(BAR0, &(address | u64::from(BAR_MEMORY_64)).to_le_bytes());
        self.allow(BAR0, &(!(size - 1)).to_le_bytes());
        Ok(())
    }

    /// Where BAR 0 is, if the guest lets the function decode memory accesses.
    pub fn bar0(&self) -> Option<u64> {
        let mut raw = [0; 8];
        self.read(BAR0 as u16, &mut raw);
        (self.bytes[COMMAND] & COMMAND_MEMORY != 0).then_some(u64::from_le_bytes(raw) & !0xf)
    }

    /// Lets the function decode memory accesses from the start, as firmware would.
    pub fn enable_memory(&mut self) {
        self.bytes[COMMAND] |= COMMAND_MEMORY;
    }

    /// Appends a capability: its id, then `body`, which begins after the link to the next one.
    /// `writable` has a bit set for each bit of `body` that the guest may write. Returns the
    /// offset of the capability's id.
    ///
    /// # Errors
    /// [`PciError::NoRoom`].
    pub fn add_capability(
        &mut self,
        id: u8,
        body: &[u8],
        writable: &[u8],
    ) -> Result<u16, PciError> {
        let at = self.free;
        let end = at + 2 + body.len();
        if end > SIZE || writable.len() > body.len() {
            return Err(PciError::NoRoom(body.len()));
        }
        self.put(at, &[id, 0]);
        self.put(at + 2, body);
        self.allow(at + 2, writable);
        self.bytes[self.last_link] = at as u8;
        self.bytes[STATUS_LOW] |= STATUS_HAS_CAPABILITIES;
        self.last_link = at + 1;
        self.free = end.next_multiple_of(4);
        Ok(at as u16)
    }

    /// Reads from `offset` on; what lies beyond the space is zero.
    pub fn read(&self, offset: u16, data: &mut [u8]) {
        let bytes = self.bytes.iter().skip(usize::from(offset));
        data.fill(0);
        data.iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
    }

    /// Writes the writable bits from `offset` on.
    pub fn write(&mut self, offset: u16, data: &[u8]) {
        let at = usize::from(offset);
        let slots = self.bytes.iter_mut().zip(&self.writable).skip(at);
        for ((byte, mask), value) in slots.zip(data) {
            *byte = (*byte & !mask) | (value & mask);
        }
    }

    /// What the guest has made of it.
    pub fn save(&self) -> ConfigState {
        ConfigState {
            bytes: self.bytes.to_vec(),
        }
    }

    /// Puts a saved state back into a space that was set up in the same way.
    ///
    /// # Errors
    /// [`PciError::BadState`] when a bit differs that no guest can write.
    pub fn restore(&mut self, state: &ConfigState) -> Result<(), PciError> {
        let bytes: [u8; SIZE] = state
            .bytes
            .as_slice()
            .try_into()
            .map_err(|_| PciError::BadState("length of configuration space"))?;
        let fixed = self.bytes.iter().zip(&bytes).zip(&self.writable);
        if fixed
            .into_iter()
            .any(|((old, new), mask)| (old ^ new) & !mask != 0)
        {
            return Err(PciError::BadState("read-only bits of configuration space"));
        }
        self.bytes = bytes;
        Ok(())
    }

    fn put(&mut self, at: usize, data: &[u8]) {
        self.bytes[at..at + data.len()].copy_from_slice(data);
    }

    fn allow(&mut self, at: usize, mask: &[u8]) {
        self.writable[at..at + mask.len()].copy_from_slice(mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> ConfigSpace {
        let mut space = ConfigSpace::new(Identity {
            vendor: 0x1af4,
            device: 0x1042,
            revision: 1,
            class: 0x01_8000,
            subsystem: 2,
        });
        space.set_bar0(0xc000_0000, 0x8000).unwrap();
        space
    }

    fn dword(space: &ConfigSpace, offset: u16) -> u32 {
        let mut data = [0; 4];
        space.read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn a_guest_can_probe_the_size_of_a_bar_and_move_it() {
        let mut space = space();
        assert_eq!(space.bar0(), None);
        space.write(0x10, &[0xff; 4]);
        space.write(0x14, &[0xff; 4]);
        assert_eq!(dword(&space, 0x10), 0xffff_8004);
        assert_eq!(dword(&space, 0x14), 0xffff_ffff);
        space.write(0x10, &0xd000_1234u32.to_le_bytes());
        space.write(0x14, &1u32.to_le_bytes());
        space.write(0x04, &[0x02, 0]);
        assert_eq!(space.bar0(), Some(0x1_d000_0000));
    }

    #[test]
    fn identity_is_not_writable_and_beyond_the_end_is_nothing() {
        let mut space = space();
        space.write(0, &[0; 4]);
        assert_eq!(dword(&space, 0), 0x1042_1af4);
        space.write(0xfe, &[0xff; 4]);
        space.write(0xffe, &[0xff; 4]);
        assert_eq!(dword(&space, 0xffe), 0);
    }

    #[test]
    fn capabilities_form_a_list_until_the_space_is_full() {
        let mut space = space();
        let first = space.add_capability(9, &[1, 2, 3], &[]).unwrap();
        let second = space.add_capability(0x11, &[0; 10], &[0, 0xc0]).unwrap();
        assert_eq!((first, second), (0x40, 0x48));
        assert_eq!(dword(&space, 0x34) & 0xff, 0x40);
        assert_eq!(dword(&space, 0x40), 0x0201_4809);
        space.write(0x48, &[0xff; 4]);
        assert_eq!(dword(&space, 0x48), 0xc000_0011);
        assert_eq!(
            space.add_capability(9, &[0; 200], &[]),
            Err(PciError::NoRoom(200))
        );
    }

    #[test]
    fn restore_takes_what_a_guest_can_write_and_nothing_else() {
        let mut old = space();
        old.write(0x04, &[0x06, 0]);
        old.write(0x10, &0xd000_0000u32.to_le_bytes());
        let state = old.save();
        let mut new = space();
        new.restore(&state).unwrap();
        assert_eq!(new.save(), state);
        let mut forged = state.clone();
        forged.bytes[2] ^= 1;
        assert!(new.restore(&forged).is_err());
        forged.bytes.pop();
        assert!(new.restore(&forged).is_err());
    }
}
