//! The driver's side of one split ring.

use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestAddress};

use crate::Memory;

const NEXT: u16 = 1;
const WRITE: u16 = 2;

/// A buffer to be put into a chain: the device reads it.
pub fn read(address: u64, len: u32) -> Buffer {
    Buffer {
        address,
        len,
        flags: 0,
    }
}

/// A buffer to be put into a chain: the device writes it.
pub fn write(address: u64, len: u32) -> Buffer {
    Buffer {
        address,
        len,
        flags: WRITE,
    }
}

/// A piece of memory in a chain.
#[derive(Debug, Clone, Copy)]
pub struct Buffer {
    pub address: u64,
    pub len: u32,
    pub flags: u16,
}

/// A ring of `size` descriptors in 16 KiB from `base`.
#[derive(Debug, Clone)]
pub struct Ring {
    pub base: u64,
    pub size: u16,
    next_descriptor: u16,
    available: u16,
    seen: u16,
}

impl Ring {
    pub fn new(base: u64, size: u16) -> Self {
        Self {
            base,
            size,
            next_descriptor: 0,
            available: 0,
            seen: 0,
        }
    }

    /// Bytes for one ring.
    pub const SPACING: u64 = 0x4000;

    pub fn driver_area(&self) -> u64 {
        self.base + 0x2000
    }

    pub fn device_area(&self) -> u64 {
        self.base + 0x3000
    }

    /// The descriptor that the next chain begins with.
    pub fn next_head(&self) -> u16 {
        self.next_descriptor
    }

    /// Makes a chain available. Descriptors are taken in turn and never waited for.
    pub fn offer(&mut self, memory: &Memory, chain: &[Buffer]) -> u16 {
        let head = self.next_descriptor;
        for (at, buffer) in chain.iter().enumerate() {
            let slot = self.next_descriptor;
            self.next_descriptor = (slot + 1) % self.size;
            let next = if at + 1 < chain.len() { NEXT } else { 0 };
            let flags = buffer.flags | next;
            let raw = Descriptor::new(buffer.address, buffer.len, flags, self.next_descriptor);
            let place = GuestAddress(self.base + 16 * u64::from(slot));
            memory.write_obj(RawDescriptor::from(raw), place).unwrap();
        }
        self.publish(memory, head);
        head
    }

    /// Puts any number into the available ring.
    pub fn publish(&mut self, memory: &Memory, head: u16) {
        let at = self.driver_area() + 4 + 2 * u64::from(self.available % self.size);
        memory.write_obj(head, GuestAddress(at)).unwrap();
        self.available = self.available.wrapping_add(1);
        self.set_available(memory, self.available);
    }

    /// Claims any number of available chains.
    pub fn set_available(&mut self, memory: &Memory, index: u16) {
        self.available = index;
        memory
            .write_obj(index, GuestAddress(self.driver_area() + 2))
            .unwrap();
    }

    /// What the device has returned since the last call: heads and lengths. Asks for an
    /// interrupt with the next one.
    pub fn used(&mut self, memory: &Memory) -> Vec<(u16, u32)> {
        let index: u16 = memory
            .read_obj(GuestAddress(self.device_area() + 2))
            .unwrap();
        let mut used = Vec::new();
        while self.seen != index {
            let at = self.device_area() + 4 + 8 * u64::from(self.seen % self.size);
            let head: u32 = memory.read_obj(GuestAddress(at)).unwrap();
            let len: u32 = memory.read_obj(GuestAddress(at + 4)).unwrap();
            used.push((head as u16, len));
            self.seen = self.seen.wrapping_add(1);
        }
        let used_event = self.driver_area() + 4 + 2 * u64::from(self.size);
        memory
            .write_obj(self.seen, GuestAddress(used_event))
            .unwrap();
        used
    }
}
