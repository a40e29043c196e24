//! Streams are exact, whoever is slow and whenever.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bolero::TypeGenerator;

use super::guest::Guest;
use crate::virtio::vsock::credit::WINDOW;
use crate::virtio::vsock::packet::{SHUTDOWN_SEND, op};

#[derive(Debug, TypeGenerator)]
enum Turn {
    ProgramWrites(u16),
    ProgramReads(u16),
    GuestWrites(u16),
    /// The guest looks at what has come.
    GuestPolls,
    /// The guest's program takes what has come.
    GuestTakes,
}

/// One direction: what was sent, and what has arrived.
#[derive(Default)]
struct Flow {
    sent: Vec<u8>,
    arrived: Vec<u8>,
}

impl Flow {
    /// The next bytes to send, no two kilobytes of them alike.
    fn next(&self, len: usize) -> Vec<u8> {
        let at = self.sent.len();
        (at..at + len)
            .map(|n| (n ^ n >> 8 ^ n >> 16) as u8)
            .collect()
    }
}

struct Stream {
    guest: Guest,
    program: UnixStream,
    port: u32,
    /// The guest's bytes that the device says it has passed on.
    told: u32,
    down: Flow,
    up: Flow,
}

impl Stream {
    fn new() -> Self {
        let mut guest = Guest::new();
        guest.window = 20_000;
        let (program, port) = guest.stream();
        program.set_nonblocking(true).unwrap();
        Self {
            guest,
            program,
            port,
            told: 0,
            down: Flow::default(),
            up: Flow::default(),
        }
    }

    fn take(&mut self, turn: &Turn) {
        match turn {
            Turn::ProgramWrites(len) => {
                let bytes = self.down.next(usize::from(*len));
                let written = self.program.write(&bytes).unwrap_or(0);
                self.down.sent.extend(&bytes[..written]);
            }
            Turn::ProgramReads(len) => {
                self.program_reads(usize::from(*len));
            }
            Turn::GuestWrites(len) => {
                let ahead = self.up.sent.len() as u32 - self.told;
                let len = usize::from(*len).min((WINDOW - ahead) as usize);
                if len > 0 {
                    let bytes = self.up.next(len);
                    self.guest.write(self.port, &bytes);
                    self.up.sent.extend(bytes);
                }
            }
            Turn::GuestPolls => self.guest_polls(),
            Turn::GuestTakes => {
                self.guest.taken = self.down.arrived.len() as u32;
                self.guest.say(self.port, op::CREDIT_UPDATE);
            }
        }
        self.guest.driver.run();
    }

    /// Returns whether the stream has ended.
    fn program_reads(&mut self, len: usize) -> bool {
        let mut bytes = vec![0; len];
        match self.program.read(&mut bytes) {
            Ok(read) => {
                self.up.arrived.extend(&bytes[..read]);
                read == 0 && len > 0
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }

    fn guest_polls(&mut self) {
        self.guest.poll();
        for (header, data) in self.guest.inbox.drain(..) {
            assert_ne!(header.op, op::RESET);
            self.told = header.fwd_cnt;
            self.down.arrived.extend(data);
        }
        let untaken = self.down.arrived.len() as u32 - self.guest.taken;
        assert!(untaken <= self.guest.window);
    }

    /// Lets everything that is under way arrive.
    fn finish(&mut self) {
        self.guest.shut(self.port, SHUTDOWN_SEND);
        while !self.program_reads(0x1_0000) {
            self.guest.driver.run();
        }
        while self.down.arrived.len() < self.down.sent.len() {
            let before = self.down.arrived.len();
            self.take(&Turn::GuestTakes);
            self.guest_polls();
            assert!(self.down.arrived.len() > before, "stuck");
        }
        assert!(self.up.arrived == self.up.sent);
        assert!(self.down.arrived == self.down.sent);
    }
}

#[test]
fn streams_are_exact_at_any_pace() {
    let time = Duration::from_secs(2);
    bolero::check!()
        .with_test_time(time)
        .with_type::<Vec<Turn>>()
        .for_each(|turns| {
            let mut stream = Stream::new();
            turns.iter().for_each(|turn| stream.take(turn));
            stream.finish();
        });
}
