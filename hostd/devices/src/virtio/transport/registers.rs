//! The common configuration registers: negotiation and queue set-up, without any I/O.

use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::TransportError;

/// Device status bits.
pub mod status {
    /// The guest has noticed the device.
    pub const ACKNOWLEDGE: u8 = 1;
    /// The guest has a driver for it.
    pub const DRIVER: u8 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u8 = 4;
    /// Features are agreed on.
    pub const FEATURES_OK: u8 = 8;
    /// The device has given up until it is reset.
    pub const NEEDS_RESET: u8 = 64;
    /// The guest has given up.
    pub const FAILED: u8 = 128;
}

/// `VIRTIO_F_INDIRECT_DESC`: long chains take one descriptor of the ring.
pub const F_INDIRECT_DESC: u64 = 1 << 28;
/// `VIRTIO_F_EVENT_IDX`: both sides say from which index on they want to be told.
pub const F_EVENT_IDX: u64 = 1 << 29;
/// `VIRTIO_F_VERSION_1`: not a legacy device. A driver has to accept it.
pub const F_VERSION_1: u64 = 1 << 32;

/// A vector that delivers nothing.
pub const NO_VECTOR: u16 = 0xffff;

/// The status bits in the only order in which a driver may add them.
const STEPS: [u8; 4] = [
    status::ACKNOWLEDGE,
    status::DRIVER,
    status::FEATURES_OK,
    status::DRIVER_OK,
];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct QueueRegisters {
    max_size: u16,
    size: u16,
    vector: u16,
    enabled: bool,
    descriptors: u64,
    driver: u64,
    device: u64,
}

impl QueueRegisters {
    fn new(max_size: u16) -> Self {
        Self {
            max_size,
            size: max_size,
            vector: NO_VECTOR,
            enabled: false,
            descriptors: 0,
            driver: 0,
            device: 0,
        }
    }

    /// The ring that these registers describe, if all of it lies in `memory`.
    fn ring(&self, memory: &GuestMemoryMmap) -> Option<Queue> {
        let mut ring = Queue::new(self.max_size).ok()?;
        ring.try_set_size(self.size).ok()?;
        ring.try_set_desc_table_address(GuestAddress(self.descriptors))
            .ok()?;
        ring.try_set_avail_ring_address(GuestAddress(self.driver))
            .ok()?;
        ring.try_set_used_ring_address(GuestAddress(self.device))
            .ok()?;
        ring.set_ready(true);
        ring.is_valid(memory).then_some(ring)
    }
}

/// The registers' state, as it is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    offered: u64,
    accepted: u64,
    device_feature_select: u32,
    driver_feature_select: u32,
    config_vector: u16,
    vectors: u16,
    status: u8,
    generation: u8,
    queue_select: u16,
    queues: Vec<QueueRegisters>,
}

/// What a register write asks the transport to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Nothing beyond what the registers have noted.
    Nothing,
    /// The driver wants the device to forget everything.
    Reset,
    /// The driver is ready: the device may work.
    Activate,
    /// The driver has given up: the device must not work any more.
    Deactivate,
}

impl Registers {
    /// The registers out of reset, of a device with these features of its own, queues of these
    /// largest sizes, and so many interrupt vectors.
    pub fn new(features: u64, queue_sizes: &[u16], vectors: u16) -> Self {
        Self {
            offered: features | F_VERSION_1 | F_EVENT_IDX | F_INDIRECT_DESC,
            accepted: 0,
            device_feature_select: 0,
            driver_feature_select: 0,
            config_vector: NO_VECTOR,
            vectors,
            status: 0,
            generation: 0,
            queue_select: 0,
            queues: queue_sizes
                .iter()
                .map(|size| QueueRegisters::new(*size))
                .collect(),
        }
    }

    /// Back to how they were in the beginning.
    pub fn reset(&mut self) {
        let sizes: Vec<u16> = self.queues.iter().map(|queue| queue.max_size).collect();
        *self = Self {
            generation: self.generation,
            ..Self::new(self.offered, &sizes, self.vectors)
        };
    }

    /// Reads a register; an access that is not exactly one register reads as zero.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        let queue = self.queues.get(usize::from(self.queue_select));
        let of_queue = |field: fn(&QueueRegisters) -> u64| queue.map_or(0, field);
        let value = match (offset, data.len()) {
            (0x00, 4) => self.device_feature_select.into(),
            (0x04, 4) => half(self.offered, self.device_feature_select).into(),
            (0x08, 4) => self.driver_feature_select.into(),
            (0x0c, 4) => half(self.accepted, self.driver_feature_select).into(),
            (0x10, 2) => self.config_vector.into(),
            (0x12, 2) => self.queues.len() as u64,
            (0x14, 1) => self.status.into(),
            (0x15, 1) => self.generation.into(),
            (0x16, 2) => self.queue_select.into(),
            (0x18, 2) => of_queue(|queue| queue.size.into()),
            (0x1a, 2) => queue.map_or(NO_VECTOR, |queue| queue.vector).into(),
            (0x1c, 2) => of_queue(|queue| queue.enabled.into()),
            (0x1e, 2) => self.queue_select.into(),
            (0x20, 4) => of_queue(|queue| queue.descriptors),
            (0x24, 4) => of_queue(|queue| queue.descriptors >> 32),
            (0x28, 4) => of_queue(|queue| queue.driver),
            (0x2c, 4) => of_queue(|queue| queue.driver >> 32),
            (0x30, 4) => of_queue(|queue| queue.device),
            (0x34, 4) => of_queue(|queue| queue.device >> 32),
            _ => 0,
        };
        data.fill(0);
        data.iter_mut()
            .zip(value.to_le_bytes())
            .for_each(|(to, from)| *to = from);
    }

    /// Writes a register; an access that is not exactly one writable register is ignored, as is
    /// one at a time when the driver has no business there.
    pub fn write(&mut self, offset: u64, data: &[u8], memory: &GuestMemoryMmap) -> Written {
        let mut bytes = [0; 4];
        bytes
            .iter_mut()
            .zip(data)
            .for_each(|(to, from)| *to = *from);
        let value = u32::from_le_bytes(bytes);
        match (offset, data.len()) {
            (0x00, 4) => self.device_feature_select = value,
            (0x08, 4) => self.driver_feature_select = value,
            (0x0c, 4) => self.accept_features(value),
            (0x10, 2) => self.config_vector = self.checked_vector(value as u16),
            (0x14, 1) => return self.set_status(value as u8),
            (0x16, 2) => self.queue_select = value as u16,
            (0x18..0x38, _) => self.write_queue(offset, data.len(), value, memory),
            _ => {}
        }
        Written::Nothing
    }

    /// The features agreed on.
    pub fn features(&self) -> u64 {
        self.accepted
    }

    /// Whether the device may work.
    pub fn is_active(&self) -> bool {
        self.is_driver_ok() && self.status & (status::NEEDS_RESET | status::FAILED) == 0
    }

    /// Whether there is a driver to be told of changes.
    pub fn is_driver_ok(&self) -> bool {
        self.status & status::DRIVER_OK != 0
    }

    /// The vector for changes of configuration.
    pub fn config_vector(&self) -> u16 {
        self.config_vector
    }

    /// A queue's vector.
    pub fn queue_vector(&self, index: usize) -> u16 {
        self.queues
            .get(index)
            .map_or(NO_VECTOR, |queue| queue.vector)
    }

    /// The device's configuration is about to be, or has been, changed.
    pub fn config_changed(&mut self) {
        self.generation = self.generation.wrapping_add(1);
    }

    /// The device gives up until it is reset.
    pub fn set_needs_reset(&mut self) {
        self.status |= status::NEEDS_RESET;
    }

    /// The ring of an enabled queue, as far as it had come; `None` if it is not enabled.
    ///
    /// # Errors
    /// When the ring is not all in `memory`.
    pub fn ring(
        &self,
        index: usize,
        (next_avail, next_used): (u16, u16),
        memory: &GuestMemoryMmap,
    ) -> Result<Option<Queue>, TransportError> {
        let Some(queue) = self.queues.get(index).filter(|queue| queue.enabled) else {
            return Ok(None);
        };
        let invalid = TransportError::BadState("a queue is not in guest memory");
        let mut ring = queue.ring(memory).ok_or(invalid)?;
        ring.set_event_idx(self.accepted & F_EVENT_IDX != 0);
        ring.set_next_avail(next_avail);
        ring.set_next_used(next_used);
        Ok(Some(ring))
    }

    /// Takes over saved registers, into new ones of the same device.
    ///
    /// # Errors
    /// When they are not of the same device, or no driver can have brought them about.
    pub fn restore(&mut self, saved: &Self) -> Result<(), TransportError> {
        let shape = |registers: &Self| -> Vec<u16> {
            registers
                .queues
                .iter()
                .map(|queue| queue.max_size)
                .collect()
        };
        let known_vector = |vector: u16| vector == NO_VECTOR || vector < self.vectors;
        let steps = saved.status & !(status::NEEDS_RESET | status::FAILED);
        let sizes_fit =
            |queue: &QueueRegisters| queue.size.is_power_of_two() && queue.size <= queue.max_size;
        let checks = [
            (saved.offered == self.offered, "features differ"),
            (saved.vectors == self.vectors, "number of vectors differs"),
            (shape(saved) == shape(self), "queues differ"),
            (
                saved.accepted & !self.offered == 0,
                "unknown features accepted",
            ),
            (known_vector(saved.config_vector), "configuration vector"),
            (
                saved.queues.iter().all(|queue| known_vector(queue.vector)),
                "queue vector",
            ),
            (saved.queues.iter().all(sizes_fit), "queue size"),
            (is_progress(steps), "device status"),
            (
                steps & status::FEATURES_OK == 0 || saved.features_agreed(),
                "features not agreed",
            ),
        ];
        if let Some((_, what)) = checks.iter().find(|(passed, _)| !passed) {
            return Err(TransportError::BadState(what));
        }
        *self = saved.clone();
        Ok(())
    }

    fn accept_features(&mut self, value: u32) {
        let negotiating = status::DRIVER | status::FEATURES_OK;
        if self.status & negotiating != status::DRIVER {
            return;
        }
        match self.driver_feature_select {
            0 => self.accepted = self.accepted & !0xffff_ffff | u64::from(value),
            1 => self.accepted = self.accepted & 0xffff_ffff | u64::from(value) << 32,
            _ => {}
        }
    }

    fn set_status(&mut self, value: u8) -> Written {
        if value == 0 {
            return Written::Reset;
        }
        let before = self.status;
        // Bits can only be added, and in order; "failed" may come at any time.
        let added = (value | before) & !(status::NEEDS_RESET | status::FAILED);
        let was_active = self.is_active();
        self.status |= value & status::FAILED;
        if was_active && !self.is_active() {
            return Written::Deactivate;
        }
        if !is_progress(added) || (added & status::FEATURES_OK != 0 && !self.features_agreed()) {
            return Written::Nothing;
        }
        self.status |= added;
        let activated = self.status & !before & status::DRIVER_OK != 0;
        if activated && self.is_active() {
            return Written::Activate;
        }
        Written::Nothing
    }

    fn features_agreed(&self) -> bool {
        self.accepted & !self.offered == 0 && self.accepted & F_VERSION_1 != 0
    }

    /// An unknown vector becomes "no vector": that is how a driver learns it was refused.
    fn checked_vector(&self, vector: u16) -> u16 {
        if vector < self.vectors {
            vector
        } else {
            NO_VECTOR
        }
    }

    fn write_queue(&mut self, offset: u64, len: usize, value: u32, memory: &GuestMemoryMmap) {
        let settled = status::FEATURES_OK | status::DRIVER_OK;
        let configuring = self.status & settled == status::FEATURES_OK;
        let vector = self.checked_vector(value as u16);
        let Some(queue) = self.queues.get_mut(usize::from(self.queue_select)) else {
            return;
        };
        if !configuring || queue.enabled {
            return;
        }
        match (offset, len) {
            (0x18, 2) => set_size(queue, value as u16),
            (0x1a, 2) => queue.vector = vector,
            (0x1c, 2) => queue.enabled = value == 1 && queue.ring(memory).is_some(),
            (0x20, 4) => set_low(&mut queue.descriptors, value),
            (0x24, 4) => set_high(&mut queue.descriptors, value),
            (0x28, 4) => set_low(&mut queue.driver, value),
            (0x2c, 4) => set_high(&mut queue.driver, value),
            (0x30, 4) => set_low(&mut queue.device, value),
            (0x34, 4) => set_high(&mut queue.device, value),
            _ => {}
        }
    }
}

fn set_size(queue: &mut QueueRegisters, size: u16) {
    if size.is_power_of_two() && size <= queue.max_size {
        queue.size = size;
    }
}

fn set_low(register: &mut u64, value: u32) {
    *register = *register & !0xffff_ffff | u64::from(value);
}

fn set_high(register: &mut u64, value: u32) {
    *register = *register & 0xffff_ffff | u64::from(value) << 32;
}

fn half(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}

/// Whether these status bits are the first so many of [`STEPS`].
fn is_progress(bits: u8) -> bool {
    let mut reached = 0;
    bits == 0
        || STEPS.iter().any(|step| {
            reached |= step;
            reached == bits
        })
}
