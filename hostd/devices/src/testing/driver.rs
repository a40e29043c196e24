//! A driver: brings a device up through its registers, and works its rings.

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::ring::{Buffer, Ring};
use super::{Notifications, Routes};
use crate::Memory;
use crate::event_loop::EventHandler;
use crate::pci::{FunctionState, PciFunction};
use crate::virtio::transport::{Resources, VirtioPci, VirtioPciState, status};
use crate::virtio::{TransportError, VirtioDevice};

/// Where the BAR is.
pub const BAR: u64 = 0xc000_0000;
/// Where a test may put its buffers; below are the rings.
pub const DATA: u64 = 0x10_0000;
/// Two regions, so that a buffer can lie across their border.
pub const BORDER: u64 = 0x20_0000;
/// End of memory.
pub const END: u64 = 0x40_0000;

const MSIX_TABLE: u64 = 0x4000;
const RING_SIZE: u16 = 16;

/// A device and the guest that drives it.
pub struct Driver<D> {
    pub memory: Memory,
    pub routes: Arc<Routes>,
    pub notifications: Arc<Notifications>,
    pub function: VirtioPci<D>,
    pub rings: Vec<Ring>,
    /// Features that the driver does without.
    pub refused: u64,
}

impl<D: VirtioDevice> Driver<D> {
    /// A device that nobody has touched.
    pub fn new(device: D) -> Self {
        let low = (GuestAddress(0), BORDER as usize);
        let high = (GuestAddress(BORDER), (END - BORDER) as usize);
        let memory = Arc::new(GuestMemoryMmap::from_ranges(&[low, high]).unwrap());
        Self::on(device, memory, Vec::new(), None).unwrap()
    }

    /// A device that the driver has brought up, with all its features that it does not refuse.
    pub fn started(device: D) -> Self {
        let mut driver = Self::new(device);
        driver.start();
        driver
    }

    /// A device as it was saved, and the same driver.
    pub fn restored(device: D, old: &Self, state: &VirtioPciState) -> Result<Self, TransportError> {
        Self::on(device, old.memory.clone(), old.rings.clone(), Some(state))
    }

    fn on(
        device: D,
        memory: Memory,
        rings: Vec<Ring>,
        state: Option<&VirtioPciState>,
    ) -> Result<Self, TransportError> {
        let (routes, notifications) = (Arc::<Routes>::default(), Arc::<Notifications>::default());
        let resources = Resources {
            memory: memory.clone(),
            interrupts: routes.clone(),
            notify: notifications.clone(),
            bar_address: BAR,
        };
        let function = VirtioPci::new(device, resources, state)?;
        Ok(Self {
            memory,
            routes,
            notifications,
            function,
            rings,
            refused: 0,
        })
    }

    /// Brings the device up as Linux does.
    pub fn start(&mut self) {
        self.negotiate();
        let queues = self.function.device().queue_sizes().len() as u16;
        self.enable_msix(queues + 1);
        self.rings = (0..queues)
            .map(|queue| Ring::new(u64::from(queue) * Ring::SPACING, RING_SIZE))
            .collect();
        for queue in 0..queues {
            self.set_up_queue(queue);
        }
        self.put8(0x14, 0xf);
        assert_eq!(self.status(), 0xf);
        self.run();
    }

    /// Up to and including `FEATURES_OK`.
    pub fn negotiate(&mut self) {
        self.put8(0x14, status::ACKNOWLEDGE);
        self.put8(0x14, status::ACKNOWLEDGE | status::DRIVER);
        for half in 0..2 {
            self.put32(0x00, half);
            let offered = self.get32(0x04);
            self.put32(0x08, half);
            self.put32(0x0c, offered & !((self.refused >> (32 * half)) as u32));
        }
        self.put8(
            0x14,
            status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK,
        );
        assert_eq!(self.status(), 0xb);
    }

    fn enable_msix(&mut self, vectors: u16) {
        for vector in 0..u64::from(vectors) {
            let entry = MSIX_TABLE + vector * 16;
            self.function
                .bar_write(0, entry, &0xfee0_0000u32.to_le_bytes());
            self.function
                .bar_write(0, entry + 8, &(0x40 + vector as u32).to_le_bytes());
            self.function.bar_write(0, entry + 12, &[0; 4]);
        }
        let at = self.find_capability(0x11);
        self.function.config_write(at + 2, &0x8000u16.to_le_bytes());
        self.put16(0x10, vectors - 1);
    }

    /// The offset of a capability.
    pub fn find_capability(&mut self, id: u8) -> u16 {
        let mut link = [0; 2];
        self.function.config_read(0x34, &mut link[1..]);
        loop {
            let at = u16::from(link[1]);
            assert_ne!(at, 0, "no capability {id}");
            self.function.config_read(at, &mut link);
            if link[0] == id {
                return at;
            }
        }
    }

    /// Sets up and enables a queue, with the vector of the same number.
    pub fn set_up_queue(&mut self, queue: u16) {
        let ring = self.rings[usize::from(queue)].clone();
        self.put16(0x16, queue);
        self.put16(0x18, ring.size);
        self.put16(0x1a, queue);
        self.put32(0x20, ring.base as u32);
        self.put32(0x28, ring.driver_area() as u32);
        self.put32(0x30, ring.device_area() as u32);
        self.put16(0x1c, 1);
    }

    /// The event loop: handles what is pending until nothing is.
    pub fn run(&mut self) {
        let sources = self.function.sources();
        loop {
            let mut idle = true;
            for source in &sources {
                if is_readable(source.fd) {
                    idle = false;
                    self.function.on_event(source.token);
                }
            }
            if idle {
                return;
            }
        }
    }

    /// Makes a chain available without notifying. Returns its head.
    pub fn offer(&mut self, queue: usize, chain: &[Buffer]) -> u16 {
        self.rings[queue].offer(&self.memory, chain)
    }

    /// Makes a chain available, notifies, and lets the device work.
    pub fn send(&mut self, queue: usize, chain: &[Buffer]) -> u16 {
        let head = self.offer(queue, chain);
        self.notify(queue);
        head
    }

    /// Notifies through the BAR, as if the kernel had not taken that over.
    pub fn notify(&mut self, queue: usize) {
        self.function
            .bar_write(0, 0x3000 + 4 * queue as u64, &(queue as u16).to_le_bytes());
        self.run();
    }

    /// What the device has returned since the last call.
    pub fn used(&mut self, queue: usize) -> Vec<(u16, u32)> {
        self.rings[queue].used(&self.memory)
    }

    /// The function's state.
    pub fn save(&self) -> VirtioPciState {
        match self.function.save() {
            FunctionState::Virtio(state) => state,
            other => panic!("{other:?}"),
        }
    }

    /// The device status register.
    pub fn status(&mut self) -> u8 {
        let mut status = [0];
        self.function.bar_read(0, 0x14, &mut status);
        status[0]
    }

    pub fn put8(&mut self, register: u64, value: u8) {
        self.function.bar_write(0, register, &[value]);
    }

    pub fn put16(&mut self, register: u64, value: u16) {
        self.function.bar_write(0, register, &value.to_le_bytes());
    }

    pub fn put32(&mut self, register: u64, value: u32) {
        self.function.bar_write(0, register, &value.to_le_bytes());
    }

    pub fn get16(&mut self, register: u64) -> u16 {
        let mut value = [0; 2];
        self.function.bar_read(0, register, &mut value);
        u16::from_le_bytes(value)
    }

    pub fn get32(&mut self, register: u64) -> u32 {
        let mut value = [0; 4];
        self.function.bar_read(0, register, &mut value);
        u32::from_le_bytes(value)
    }

    /// Puts bytes into guest memory.
    pub fn poke(&self, address: u64, bytes: &[u8]) {
        self.memory
            .write_slice(bytes, GuestAddress(address))
            .unwrap();
    }

    /// Takes bytes out of guest memory.
    pub fn peek(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory
            .read_slice(&mut bytes, GuestAddress(address))
            .unwrap();
        bytes
    }
}

fn is_readable(fd: std::os::fd::RawFd) -> bool {
    use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
    let epoll = Epoll::new().unwrap();
    epoll
        .ctl(ControlOperation::Add, fd, EpollEvent::new(EventSet::IN, 0))
        .unwrap();
    epoll.wait(0, &mut [EpollEvent::default()]).unwrap() == 1
}
