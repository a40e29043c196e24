//! The guest's side of the socket device: a driver that keeps buffers ready, and packets.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use tempfile::TempDir;

use crate::testing::{DATA, Driver, read, write};
use crate::virtio::transport::VirtioPciState;
use crate::virtio::vsock::packet::{HEADER_BYTES, HOST_CID, Header, TYPE_STREAM, op};
use crate::virtio::vsock::{Connector, Vsock};

pub const CID: u32 = 7;
const RX: usize = 0;
const TX: usize = 1;
const EVENT: usize = 2;
/// Bytes of one receive buffer, as in Linux.
const BUFFER: u32 = 4096;
const EVENTS: u64 = DATA + 0x6_0000;
const SENDING: u64 = DATA + 0x8_0000;

/// A guest whose kernel answers nothing by itself.
pub struct Guest {
    pub driver: Driver<Vsock>,
    pub inbox: VecDeque<(Header, Vec<u8>)>,
    /// What it says of its buffer with every packet.
    pub window: u32,
    pub taken: u32,
    dir: TempDir,
}

fn device(dir: &TempDir, connector: Option<Box<dyn Connector>>) -> Vsock {
    let path = dir.path().join("vsock");
    let _ = std::fs::remove_file(&path);
    Vsock::new(CID, UnixListener::bind(path).unwrap(), connector).unwrap()
}

impl Guest {
    pub fn new() -> Self {
        Self::with(None)
    }

    pub fn with(connector: Option<Box<dyn Connector>>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let driver = Driver::started(device(&dir, connector));
        let mut guest = Self::around(driver, dir);
        (0..15).for_each(|_| guest.offer_buffer());
        for slot in 0..4 {
            guest.driver.offer(EVENT, &[write(EVENTS + 8 * slot, 8)]);
        }
        guest.driver.notify(RX);
        guest
    }

    fn around(driver: Driver<Vsock>, dir: TempDir) -> Self {
        Self {
            driver,
            inbox: VecDeque::new(),
            window: 1 << 18,
            taken: 0,
            dir,
        }
    }

    /// The same guest, restored into another machine.
    pub fn restored(&self, state: &VirtioPciState) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let device = device(&dir, None);
        Self::around(Driver::restored(device, &self.driver, state).unwrap(), dir)
    }

    /// A host program connects and says where to.
    pub fn program(&self, words: &str) -> UnixStream {
        let mut program = UnixStream::connect(self.dir.path().join("vsock")).unwrap();
        program
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        program.write_all(words.as_bytes()).unwrap();
        program
    }

    /// A stream from a host program to port 1024, accepted by the guest.
    pub fn stream(&mut self) -> (UnixStream, u32) {
        let mut program = self.program("CONNECT 1024\n");
        let (request, _) = self.next();
        assert_eq!((request.op, request.dst_port), (op::REQUEST, 1024));
        self.say(request.src_port, op::RESPONSE);
        let answer = format!("OK {}\n", request.src_port);
        let mut line = vec![0; answer.len()];
        program.read_exact(&mut line).unwrap();
        assert_eq!(line, answer.as_bytes());
        (program, request.src_port)
    }

    /// The header of a packet from port 1024.
    pub fn header(&self, host_port: u32, op: u16) -> Header {
        Header {
            src_cid: CID.into(),
            dst_cid: HOST_CID,
            src_port: 1024,
            dst_port: host_port,
            kind: TYPE_STREAM,
            op,
            buf_alloc: self.window,
            fwd_cnt: self.taken,
            ..Header::default()
        }
    }

    pub fn say(&mut self, host_port: u32, op: u16) {
        self.send(self.header(host_port, op), &[]);
    }

    pub fn shut(&mut self, host_port: u32, flags: u32) {
        self.send(
            Header {
                flags,
                ..self.header(host_port, op::SHUTDOWN)
            },
            &[],
        );
    }

    pub fn write(&mut self, host_port: u32, bytes: &[u8]) {
        self.send(self.header(host_port, op::DATA), bytes);
    }

    /// Sends a packet: a header, and data in two buffers.
    pub fn send(&mut self, header: Header, bytes: &[u8]) {
        let header = Header {
            len: bytes.len() as u32,
            ..header
        };
        self.driver.poke(SENDING, &header.encode());
        self.driver.poke(SENDING + 0x100, bytes);
        let (half, len) = (bytes.len() as u32 / 2, bytes.len() as u32);
        let data = SENDING + 0x100;
        let chain = [
            read(SENDING, HEADER_BYTES as u32),
            read(data, half),
            read(data + u64::from(half), len - half),
        ];
        self.driver.send(TX, &chain[..if len == 0 { 1 } else { 3 }]);
        assert_eq!(self.driver.used(TX).len(), 1, "taken at once");
    }

    /// Takes packets from the device and gives the buffers back, until there are no more.
    pub fn poll(&mut self) {
        loop {
            self.driver.run();
            let used = self.driver.used(RX);
            if used.is_empty() {
                return;
            }
            for (slot, len) in used {
                let bytes = self.driver.peek(rx_buffer(slot), len as usize);
                let (header, data) = bytes.split_first_chunk().unwrap();
                self.inbox
                    .push_back((Header::decode(header), data.to_vec()));
                self.offer_buffer();
            }
            self.driver.notify(RX);
        }
    }

    /// Makes a receive buffer available: each descriptor has its own.
    fn offer_buffer(&mut self) {
        let address = rx_buffer(self.driver.rings[RX].next_head());
        self.driver
            .offer(RX, &[write(address, BUFFER + HEADER_BYTES as u32)]);
    }

    /// The next packet.
    pub fn next(&mut self) -> (Header, Vec<u8>) {
        self.poll();
        self.inbox.pop_front().expect("a packet")
    }

    pub fn nothing(&mut self) {
        self.poll();
        assert_eq!(self.inbox.pop_front(), None);
    }

    /// The ids of the events since the last call; their buffers are not given back.
    pub fn events(&mut self) -> Vec<u32> {
        let used = self.driver.used(EVENT);
        let at = |slot: u16| self.driver.peek(EVENTS + 8 * u64::from(slot), 4);
        used.iter()
            .map(|(slot, _)| u32::from_le_bytes(at(*slot).try_into().unwrap()))
            .collect()
    }

    /// Gives an event's buffer back.
    pub fn return_event(&mut self) {
        self.driver.send(EVENT, &[write(EVENTS, 8)]);
    }
}

fn rx_buffer(slot: u16) -> u64 {
    DATA + 0x2000 * u64::from(slot)
}
