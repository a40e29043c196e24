//! MSI-X: the vector table, the pending bits, and where the vectors lead.
//!
//! A vector is delivered by the vmm, which is told the vector's message when it changes. While a
//! vector is masked nothing is triggered; a bit remembers that something should have been.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::PciError;

/// Bytes of one entry of the vector table.
pub const ENTRY_SIZE: u64 = 16;
/// The capability's id.
pub const CAPABILITY_ID: u8 = 0x11;
/// More vectors than any device here has queues; the spec's own limit is 2048.
pub const MAX_VECTORS: u16 = 32;

const CONTROL_ENABLE: u16 = 1 << 15;
const CONTROL_MASK_ALL: u16 = 1 << 14;
const ENTRY_MASKED: u32 = 1;

/// What a vector writes where: an x86 MSI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MsiMessage {
    /// Guest physical address.
    pub address: u64,
    /// Value written there.
    pub data: u32,
}

/// Where the vectors of one function lead: with KVM each is one `KVM_SIGNAL_MSI` with the message
/// that the vector has.
pub trait MsiRoutes: Send + Sync {
    /// From now on `vector` delivers `message`. Called when a vector that the guest may use
    /// gets a message that it did not have; after a restore once for each such vector.
    ///
    /// # Errors
    /// As the kernel says; the vector is then not delivered.
    fn route(&self, vector: u16, message: MsiMessage) -> io::Result<()>;

    /// Delivers `vector` once.
    ///
    /// # Errors
    /// As the kernel says.
    fn trigger(&self, vector: u16) -> io::Result<()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    address: u64,
    data: u32,
    control: u32,
    pending: bool,
}

/// An entry out of reset: masked.
const RESET: Entry = Entry {
    address: 0,
    data: 0,
    control: ENTRY_MASKED,
    pending: false,
};

/// The saved state of a function's vectors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsixState {
    control: u16,
    entries: Vec<Entry>,
}

/// The vectors of one function.
pub struct Msix {
    control: u16,
    entries: Vec<Entry>,
    /// What each vector's route was last set to.
    routed: Vec<Option<MsiMessage>>,
    routes: Arc<dyn MsiRoutes>,
}

impl Msix {
    /// `vectors` vectors, all masked, delivered through `routes`.
    pub fn new(vectors: u16, routes: Arc<dyn MsiRoutes>) -> Self {
        let vectors = vectors.clamp(1, MAX_VECTORS);
        Self {
            control: 0,
            entries: vec![RESET; usize::from(vectors)],
            routed: vec![None; usize::from(vectors)],
            routes,
        }
    }

    /// How many there are.
    pub fn vectors(&self) -> u16 {
        self.entries.len() as u16
    }

    /// The body of the capability, and which of its bits are writable, for a table and pending
    /// bits in BAR 0 at these offsets.
    pub fn capability(&self, table: u32, pending: u32) -> ([u8; 10], [u8; 2]) {
        let mut body = [0; 10];
        body[..2].copy_from_slice(&(self.vectors() - 1).to_le_bytes());
        body[2..6].copy_from_slice(&table.to_le_bytes());
        body[6..].copy_from_slice(&pending.to_le_bytes());
        (body, (CONTROL_ENABLE | CONTROL_MASK_ALL).to_le_bytes())
    }

    /// The guest has written the capability's message control.
    pub fn set_control(&mut self, control: u16) {
        self.control = control & (CONTROL_ENABLE | CONTROL_MASK_ALL);
        for vector in 0..self.vectors() {
            self.settle(vector);
        }
    }

    /// Delivers a vector, or remembers it while it is masked. What is not a vector (such as
    /// virtio's "no vector") delivers nothing.
    pub fn trigger(&mut self, vector: u16) {
        let ready = self.is_open(vector);
        match self.entries.get_mut(usize::from(vector)) {
            Some(_) if ready => self.deliver(vector),
            Some(entry) => entry.pending = self.control & CONTROL_ENABLE != 0,
            None => {}
        }
    }

    /// Reads the vector table: a dword, or an aligned quadword.
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let at = (offset % ENTRY_SIZE) as usize;
        let Some(entry) = self.entries.get((offset / ENTRY_SIZE) as usize) else {
            return;
        };
        let mut bytes = [0; ENTRY_SIZE as usize];
        bytes[..8].copy_from_slice(&entry.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&entry.data.to_le_bytes());
        bytes[12..].copy_from_slice(&entry.control.to_le_bytes());
        let bytes = bytes.iter().skip(at);
        data.iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
    }

    /// Writes the vector table: an aligned dword, or an aligned quadword. Anything else is
    /// ignored.
    pub fn write_table(&mut self, offset: u64, data: &[u8]) {
        let vector = offset / ENTRY_SIZE;
        let at = offset % ENTRY_SIZE;
        if let Ok(dword) = <[u8; 4]>::try_from(data) {
            self.write_dword(vector, at, u32::from_le_bytes(dword));
        } else if let Ok(quad) = <[u8; 8]>::try_from(data)
            && at.is_multiple_of(8)
        {
            let quad = u64::from_le_bytes(quad);
            self.write_dword(vector, at, quad as u32);
            self.write_dword(vector, at + 4, (quad >> 32) as u32);
        }
    }

    /// Reads the pending bits.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        let pending = self.entries.iter().zip(0u32..);
        let bits = pending.fold(0u64, |bits, (entry, at)| {
            bits | u64::from(entry.pending) << (at % 64)
        });
        let bytes = bits.to_le_bytes();
        data.fill(0);
        let bytes = bytes
            .iter()
            .skip(usize::try_from(offset).unwrap_or(usize::MAX));
        data.iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
    }

    /// What the guest has made of it.
    pub fn save(&self) -> MsixState {
        MsixState {
            control: self.control,
            entries: self.entries.clone(),
        }
    }

    /// Puts a saved state back and sets up its routes.
    ///
    /// # Errors
    /// [`PciError::BadState`] when it is not one of this function's.
    pub fn restore(&mut self, state: &MsixState) -> Result<(), PciError> {
        if state.entries.len() != self.entries.len() {
            return Err(PciError::BadState("number of MSI-X vectors"));
        }
        if state.control & !(CONTROL_ENABLE | CONTROL_MASK_ALL) != 0 {
            return Err(PciError::BadState("MSI-X control"));
        }
        if state
            .entries
            .iter()
            .any(|entry| entry.control & !ENTRY_MASKED != 0)
        {
            return Err(PciError::BadState("MSI-X vector control"));
        }
        self.entries.clone_from(&state.entries);
        self.control = state.control;
        for vector in 0..self.vectors() {
            if self.is_open(vector) {
                self.update_route(vector);
            }
        }
        Ok(())
    }

    fn write_dword(&mut self, vector: u64, at: u64, value: u32) {
        let Some(entry) = self.entries.get_mut(vector as usize) else {
            return;
        };
        match at {
            0 => entry.address = entry.address & !0xffff_ffff | u64::from(value),
            4 => entry.address = entry.address & 0xffff_ffff | u64::from(value) << 32,
            8 => entry.data = value,
            12 => entry.control = value & ENTRY_MASKED,
            _ => return,
        }
        self.settle(vector as u16);
    }

    /// Routes a vector that is open, and delivers it if it was waiting for that.
    fn settle(&mut self, vector: u16) {
        if !self.is_open(vector) {
            return;
        }
        self.update_route(vector);
        let waiting = self.entries.get_mut(usize::from(vector));
        if waiting.is_some_and(|entry| std::mem::take(&mut entry.pending)) {
            self.deliver(vector);
        }
    }

    fn is_open(&self, vector: u16) -> bool {
        let entry = self.entries.get(usize::from(vector));
        self.control & (CONTROL_ENABLE | CONTROL_MASK_ALL) == CONTROL_ENABLE
            && entry.is_some_and(|entry| entry.control & ENTRY_MASKED == 0)
    }

    /// Guests mask and unmask vectors without changing them: only a new message is passed on.
    fn update_route(&mut self, vector: u16) {
        let at = usize::from(vector);
        let (Some(entry), Some(routed)) = (self.entries.get(at), self.routed.get_mut(at)) else {
            return;
        };
        let message = MsiMessage {
            address: entry.address,
            data: entry.data,
        };
        if *routed == Some(message) {
            return;
        }
        match self.routes.route(vector, message) {
            Ok(()) => *routed = Some(message),
            Err(error) => tracing::debug!(vector, %error, "cannot route an interrupt"),
        }
    }

    fn deliver(&self, vector: u16) {
        if let Err(error) = self.routes.trigger(vector) {
            tracing::debug!(vector, %error, "cannot deliver an interrupt");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Routes;

    fn open(msix: &mut Msix, vector: u64, message: u32) {
        msix.write_table(vector * ENTRY_SIZE, &0xfee0_0000u64.to_le_bytes());
        msix.write_table(vector * ENTRY_SIZE + 8, &message.to_le_bytes());
        msix.write_table(vector * ENTRY_SIZE + 12, &[0; 4]);
    }

    #[test]
    fn a_masked_vector_is_remembered_and_delivered_later() {
        let routes = Arc::new(Routes::default());
        let mut msix = Msix::new(2, routes.clone());
        msix.set_control(CONTROL_ENABLE);
        msix.trigger(1);
        assert!(routes.triggered().is_empty());
        let mut pending = [0; 8];
        msix.read_pending(0, &mut pending);
        assert_eq!(pending[0], 0b10);
        open(&mut msix, 1, 0x41);
        assert_eq!(routes.triggered(), [1]);
        msix.trigger(1);
        assert_eq!(routes.triggered(), [1, 1]);
        assert_eq!(routes.routed().len(), 1);
    }

    #[test]
    fn a_route_is_set_once_per_message() {
        let routes = Arc::new(Routes::default());
        let mut msix = Msix::new(1, routes.clone());
        open(&mut msix, 0, 0x41);
        assert!(routes.routed().is_empty());
        msix.set_control(CONTROL_ENABLE | CONTROL_MASK_ALL);
        msix.set_control(CONTROL_ENABLE);
        msix.set_control(CONTROL_ENABLE | CONTROL_MASK_ALL);
        msix.set_control(CONTROL_ENABLE);
        let message = MsiMessage {
            address: 0xfee0_0000,
            data: 0x41,
        };
        assert_eq!(routes.routed(), [(0, message)]);
    }

    #[test]
    fn accesses_beyond_the_table_do_nothing() {
        let mut msix = Msix::new(1, Arc::new(Routes::default()));
        let before = msix.save();
        for (offset, len) in [(16, 4), (u64::MAX, 8), (1, 4), (4, 8), (0, 3), (0, 0)] {
            msix.write_table(offset, &vec![0xff; len]);
            msix.read_table(offset, &mut vec![0; len]);
            msix.read_pending(offset, &mut vec![0; len]);
        }
        msix.trigger(0xffff);
        assert_eq!(msix.save(), before);
    }

    #[test]
    fn restore_routes_what_was_open() {
        let mut old = Msix::new(2, Arc::new(Routes::default()));
        old.set_control(CONTROL_ENABLE);
        open(&mut old, 0, 0x41);
        let routes = Arc::new(Routes::default());
        let mut new = Msix::new(2, routes.clone());
        new.restore(&old.save()).unwrap();
        assert_eq!(new.save(), old.save());
        assert_eq!(routes.routed().len(), 1);
        assert!(Msix::new(1, routes).restore(&old.save()).is_err());
    }
}
