//! Fuzz targets: everything that a guest can write, and saved states. They run for a bounded
//! number of random inputs under `cargo test`, and for as long as wanted under `cargo bolero`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::io::{Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use bolero::TypeGenerator;
use vm_memory::GuestAddress;

use crate::event_loop::EventHandler;
use crate::pci::PciFunction;
use crate::testing::{Buffer, DATA, Driver, END};
use crate::virtio::VirtioDevice;
use crate::virtio::balloon::{Balloon, MemoryReclaim};
use crate::virtio::block::{Block, FileBackend};
use crate::virtio::net::{Limit, Net, NetControl, NetLimits, Rate, Tap};
use crate::virtio::rng::Rng;
use crate::virtio::transport::VirtioPciState;
use crate::virtio::vsock::Vsock;

/// How long each target runs under `cargo test`.
const TIME: Duration = Duration::from_secs(2);
const SECTORS: u64 = 64;

/// What a hostile guest may do.
#[derive(Debug, TypeGenerator)]
enum Deed {
    /// Writes to the BAR.
    Register { offset: u16, len: u8, value: u64 },
    /// Writes to configuration space.
    Config { offset: u8, value: u32 },
    /// Writes to memory: rings included.
    Memory { address: u32, bytes: Vec<u8> },
    /// Makes a chain available that may be well-formed.
    Chain { queue: u8, buffers: Vec<Piece> },
    /// Makes a chain available whose head is anything.
    Head { queue: u8, head: u16 },
    /// Claims to have made any number of chains available.
    Available { queue: u8, index: u16 },
    /// Notifies.
    Notify { queue: u8 },
    /// The machine is paused and goes on.
    Resume,
    /// Resets the device and brings it up properly.
    Restart,
}

/// A buffer, rather near the places where something is.
#[derive(Debug, TypeGenerator)]
struct Piece {
    page: u8,
    offset: u8,
    len: Length,
    write: bool,
    wild: Option<u64>,
}

#[derive(Debug, TypeGenerator)]
enum Length {
    Small(u8),
    Page,
    Any(u32),
}

impl Piece {
    fn buffer(&self) -> Buffer {
        let near = DATA + u64::from(self.page) * 0x1000 + u64::from(self.offset);
        Buffer {
            address: self
                .wild
                .filter(|_| self.page.is_multiple_of(8))
                .unwrap_or(near),
            len: match self.len {
                Length::Small(len) => len.into(),
                Length::Page => 4096,
                Length::Any(len) => len,
            },
            flags: if self.write { 2 } else { 0 },
        }
    }
}

fn commit<D: VirtioDevice>(driver: &mut Driver<D>, deed: &Deed) {
    let queues = driver.rings.len();
    match deed {
        Deed::Register { offset, len, value } => {
            let offset = u64::from(offset & 0x7fff);
            let len = [1, 2, 4, 8][usize::from(len % 4)];
            driver
                .function
                .bar_write(0, offset, &value.to_le_bytes()[..len]);
            driver.function.bar_read(0, offset, &mut vec![0; len]);
        }
        Deed::Config { offset, value } => {
            let offset = u16::from(offset & !3);
            driver.function.config_write(offset, &value.to_le_bytes());
            driver.function.config_read(offset, &mut [0; 4]);
        }
        Deed::Memory { address, bytes } => {
            let last = END as usize - bytes.len();
            driver.poke((*address as usize % last) as u64, bytes);
        }
        Deed::Chain { queue, buffers } => {
            let chain: Vec<_> = buffers.iter().take(16).map(Piece::buffer).collect();
            if !chain.is_empty() {
                driver.offer(usize::from(*queue) % queues, &chain);
            }
        }
        Deed::Head { queue, head } => {
            let memory = driver.memory.clone();
            driver.rings[usize::from(*queue) % queues].publish(&memory, *head);
        }
        Deed::Available { queue, index } => {
            let memory = driver.memory.clone();
            driver.rings[usize::from(*queue) % queues].set_available(&memory, *index);
        }
        Deed::Notify { queue } => driver.notify(usize::from(*queue) % queues),
        Deed::Resume => driver.function.resume(),
        Deed::Restart => restart(driver),
    }
}

fn restart<D: VirtioDevice>(driver: &mut Driver<D>) {
    driver.put8(0x14, 0);
    driver.poke(0, &[0; 0x1_0000]);
    driver.function.config_write(0x04, &[6, 0]);
    driver.start();
}

/// The device survives, can be saved and restored at any point, and works again after a reset.
fn survive<D: VirtioDevice>(driver: &mut Driver<D>, deeds: &[Deed], again: impl Fn() -> D) {
    for deed in deeds.iter().take(64) {
        commit(driver, deed);
    }
    driver.run();
    let state = driver.save();
    Driver::restored(again(), driver, &state).unwrap();
    restart(driver);
}

fn disk() -> Block {
    let file = tempfile::tempfile().unwrap();
    file.set_len(SECTORS * 512).unwrap();
    Block::new(Box::new(FileBackend::new(file, false).unwrap()), "fuzz")
}

#[test]
fn block_and_transport() {
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<Vec<Deed>>()
        .for_each(|deeds| {
            survive(&mut Driver::started(disk()), deeds, disk);
        });
}

/// Takes no memory, but sees what a guest gives.
struct Reclaim;

impl MemoryReclaim for Reclaim {
    fn discard(&self, start: GuestAddress, len: u64) -> std::io::Result<()> {
        assert!(len != 0 && start.0.is_multiple_of(4096) && start.0 + len <= END);
        Ok(())
    }
}

#[test]
fn balloon_and_rng() {
    let balloon = || Balloon::new(Arc::new(Reclaim));
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<Vec<Deed>>()
        .for_each(|deeds| {
            survive(&mut Driver::started(balloon()), deeds, balloon);
            survive(&mut Driver::started(Rng::new()), deeds, Rng::new);
        });
}

/// A network card's life.
#[derive(Debug, TypeGenerator)]
enum Turn {
    Deed(Deed),
    /// A frame of the guest whose header may make sense.
    Frame {
        header: [u8; 12],
        len: u16,
        pieces: u8,
    },
    Buffers {
        count: u8,
        len: u16,
    },
    /// A frame in the tap.
    Tap {
        flags: u8,
        gso_type: u8,
        len: u16,
    },
    Mute(bool),
    Limit {
        bytes: Option<u32>,
        frames: Option<u8>,
    },
    /// The driver goes and comes without these features.
    Without(u16),
}

/// A card between a driver and a pair of sockets in place of a tap.
struct Cable {
    tap: UnixDatagram,
    wire: UnixDatagram,
    control: Arc<NetControl>,
}

impl Cable {
    fn new() -> Self {
        let (tap, wire) = UnixDatagram::pair().unwrap();
        wire.set_nonblocking(true).unwrap();
        let control = Arc::new(NetControl::new(false, NetLimits::default()).unwrap());
        Self { tap, wire, control }
    }

    fn card(&self) -> Net {
        let tap = Tap::unchecked(self.tap.try_clone().unwrap().into()).unwrap();
        Net::new([2, 0, 0, 0, 0, 1], tap, self.control.clone()).unwrap()
    }

    fn take(&self, driver: &mut Driver<Net>, turn: &Turn) {
        match turn {
            Turn::Deed(deed) => commit(driver, deed),
            Turn::Frame {
                header,
                len,
                pieces,
            } => {
                driver.poke(DATA, header);
                let piece = u32::from(*len) / u32::from(pieces % 8 + 1);
                let pieces = (0..=u64::from(pieces % 8)).map(|at| Buffer {
                    address: DATA + at * 0x2000,
                    len: piece,
                    flags: 0,
                });
                driver.send(1, &pieces.collect::<Vec<_>>());
            }
            Turn::Buffers { count, len } => {
                for at in 0..u64::from(count % 16) {
                    let buffer = Buffer {
                        address: DATA + 0x2_0000 + at * 0x1_0000,
                        len: (*len).into(),
                        flags: 2,
                    };
                    driver.offer(0, &[buffer]);
                }
                driver.notify(0);
            }
            Turn::Tap {
                flags,
                gso_type,
                len,
            } => {
                let mut frame = vec![0; usize::from(*len)];
                let header = [flags % 4, gso_type % 6];
                frame
                    .iter_mut()
                    .zip(header)
                    .for_each(|(to, from)| *to = from);
                let _ = self.wire.send(&frame);
            }
            Turn::Mute(muted) => self.control.set_muted(*muted).unwrap(),
            Turn::Limit { bytes, frames } => {
                let limit = Limit {
                    bytes: bytes.map(|rate| Rate::per_second(rate.into())),
                    frames: frames.map(|rate| Rate::per_second(rate.into())),
                };
                let limits = NetLimits {
                    from_guest: limit,
                    to_guest: limit,
                };
                self.control.set_limits(limits).unwrap();
            }
            Turn::Without(features) => {
                driver.refused = u64::from(*features);
                restart(driver);
            }
        }
        driver.run();
        // Nobody's buffer is ever full.
        while self.wire.recv(&mut [0; 64]).is_ok() {}
    }
}

#[test]
fn network_cards() {
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<Vec<Turn>>()
        .for_each(|turns| {
            let cable = Cable::new();
            let mut driver = Driver::started(cable.card());
            for turn in turns.iter().take(64) {
                cable.take(&mut driver, turn);
            }
            driver.refused = 0;
            // A long frame that waits for room would hold up the one that is to come.
            while cable.tap.recv(&mut [0; 64]).is_ok() {}
            survive(&mut driver, &[], || cable.card());
            works(&mut driver, &cable);
        });
}

/// Whatever came before, a card that is started anew carries a frame each way.
fn works(driver: &mut Driver<Net>, cable: &Cable) {
    cable.control.set_muted(false).unwrap();
    cable.control.set_limits(NetLimits::default()).unwrap();
    driver.run();
    let before = cable.control.counters();
    let buffer = |address, flags| Buffer {
        address,
        len: 72,
        flags,
    };
    driver.poke(DATA, &[0; 72]);
    driver.send(1, &[buffer(DATA, 0)]);
    assert_eq!(cable.wire.recv(&mut [0; 128]).unwrap(), 72);
    for at in 0..8 {
        driver.offer(0, &[buffer(DATA + 0x1000 * at, 2)]);
    }
    driver.notify(0);
    cable.wire.send(&[0; 72]).unwrap();
    driver.run();
    let after = cable.control.counters();
    assert!(after.to_guest_frames > before.to_guest_frames);
}

/// A packet with ports and operations that occur, and anything else.
#[derive(Debug, TypeGenerator)]
struct Packet {
    near: bool,
    host_port: u8,
    op: u8,
    kind: u8,
    len: u16,
    actual: u16,
    flags: u8,
    buf_alloc: u32,
    fwd_cnt: u32,
    wild: [u8; 44],
}

impl Packet {
    fn bytes(&self) -> [u8; 44] {
        if !self.near {
            return self.wild;
        }
        let mut header = [0; 44];
        header[0] = 3;
        header[8] = 2;
        header[16..20].copy_from_slice(&1024u32.to_le_bytes());
        header[20..24].copy_from_slice(&((1 << 30) + u32::from(self.host_port % 4)).to_le_bytes());
        header[24..26].copy_from_slice(&self.len.to_le_bytes());
        header[28] = if self.kind == 0 { 2 } else { 1 };
        header[30] = self.op % 9;
        header[32] = self.flags % 4;
        header[36..40].copy_from_slice(&self.buf_alloc.to_le_bytes());
        header[40..44].copy_from_slice(&self.fwd_cnt.to_le_bytes());
        header
    }
}

#[derive(Debug, TypeGenerator)]
enum Step {
    Packet(Packet),
    Deed(Deed),
    Buffers(u8),
    Connect,
    Program { which: u8, bytes: u16, read: bool },
    Leave { which: u8 },
}

struct Room {
    dir: tempfile::TempDir,
    programs: Vec<UnixStream>,
}

impl Room {
    fn device(&self) -> Vsock {
        let path = self.dir.path().join("vsock");
        let _ = std::fs::remove_file(&path);
        Vsock::new(3, UnixListener::bind(path).unwrap(), None).unwrap()
    }

    fn take(&mut self, driver: &mut Driver<Vsock>, step: &Step) {
        match step {
            Step::Packet(packet) => {
                driver.poke(DATA, &packet.bytes());
                let data = Buffer {
                    address: DATA + 0x1000,
                    len: packet.actual.into(),
                    flags: 0,
                };
                let header = Buffer {
                    address: DATA,
                    len: 44,
                    flags: 0,
                };
                driver.send(1, &[header, data]);
            }
            Step::Deed(deed) => commit(driver, deed),
            Step::Buffers(count) => {
                for at in 0..u64::from(count % 8) {
                    let address = DATA + 0x2_0000 + at * 0x2000;
                    driver.offer(
                        0,
                        &[Buffer {
                            address,
                            len: 4140,
                            flags: 2,
                        }],
                    );
                }
                driver.notify(0);
            }
            Step::Connect => {
                let program = UnixStream::connect(self.dir.path().join("vsock"));
                if let Ok(mut program) = program {
                    program.set_nonblocking(true).unwrap();
                    program.write_all(b"CONNECT 1024\n").unwrap();
                    self.programs.push(program);
                }
            }
            Step::Program { which, bytes, read } => {
                let count = self.programs.len().max(1);
                if let Some(program) = self.programs.get_mut(usize::from(*which) % count) {
                    let mut bytes = vec![0; usize::from(*bytes)];
                    let _ = if *read {
                        program.read(&mut bytes)
                    } else {
                        program.write(&bytes)
                    };
                }
            }
            Step::Leave { which } => {
                if !self.programs.is_empty() {
                    let count = self.programs.len();
                    self.programs.swap_remove(usize::from(*which) % count);
                }
            }
        }
        driver.run();
    }
}

#[test]
fn vsock_packets() {
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<Vec<Step>>()
        .for_each(|steps| {
            let mut room = Room {
                dir: tempfile::tempdir().unwrap(),
                programs: Vec::new(),
            };
            let mut driver = Driver::started(room.device());
            for step in steps.iter().take(64) {
                room.take(&mut driver, step);
            }
            survive(&mut driver, &[], || room.device());
        });
}

/// Bytes of a state with some of them changed.
#[derive(Debug, TypeGenerator)]
struct Forgery(Vec<(u16, u8)>);

#[test]
fn saved_states() {
    let bytes = postcard::to_stdvec(&Driver::started(disk()).save()).unwrap();
    bolero::check!()
        .with_test_time(TIME)
        .with_type::<Forgery>()
        .for_each(|forgery| {
            let mut forged = bytes.clone();
            for (at, value) in forgery.0.iter().take(8) {
                let at = usize::from(*at) % forged.len();
                forged[at] ^= value;
            }
            let Ok(state) = postcard::from_bytes::<VirtioPciState>(&forged) else {
                return;
            };
            let driver = Driver::started(disk());
            if let Ok(mut again) = Driver::restored(disk(), &driver, &state) {
                again.function.resume();
                again.run();
                again.put8(0x14, 0);
            }
        });
}
