//! One stream between a port of the guest and a unix socket of the host.
//!
//! ```text
//!   Requested --RESPONSE--> Established --guest: SHUTDOWN both, or RST--> Draining --> gone
//!       |                       |                                           (only what the host
//!       +--RST, or host closes--+--host closed, told the guest--> gone       program still reads)
//! ```
//!
//! A stream that the guest asked for begins as Established. The host side is non-blocking and
//! watched edge-triggered: `readable` remembers an edge until a read has found nothing.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use vm_memory::{Bytes, ReadVolatile, VolatileMemoryError, VolatileSlice, WriteVolatile};
use vmm_sys_util::epoll::EventSet;

use super::credit::Credit;
use super::packet::{
    Buffers, Header, MAX_DATA, SHUTDOWN_BOTH, SHUTDOWN_RECEIVE, SHUTDOWN_SEND, op,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Requested,
    Established,
    Draining,
}

/// What becomes of a connection after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Keep,
    /// It goes on without the guest, who is told that it is over.
    Drain,
    /// It is over, and both sides know.
    Remove,
    /// It is over, and the guest is told so.
    Reset,
}

/// A stream.
pub struct Connection {
    stream: UnixStream,
    phase: Phase,
    credit: Credit,
    /// From the guest, for a host program that is slow to take it.
    outbox: VecDeque<u8>,
    /// A read of the stream may find something.
    readable: bool,
    /// The host program has closed both directions.
    hung_up: bool,
    /// The host program takes nothing any more.
    deaf: bool,
    /// The guest's SHUTDOWN flags so far.
    guest_shut: u32,
    /// Our SHUTDOWN flags so far.
    host_shut: u32,
    /// A packet of this kind is due.
    opening: Option<u16>,
    shutdown_due: bool,
    credit_due: bool,
    /// Whether it is on the list of connections with something for the guest.
    pub queued: bool,
}

impl Connection {
    /// A stream that the host asks the guest for.
    pub fn request(stream: UnixStream) -> Self {
        Self::new(stream, Phase::Requested, op::REQUEST)
    }

    /// A stream that the guest has asked for, in the packet `header`.
    pub fn accept(stream: UnixStream, header: &Header) -> Self {
        let mut connection = Self::new(stream, Phase::Established, op::RESPONSE);
        connection.credit.heard(header);
        connection
    }

    fn new(stream: UnixStream, phase: Phase, opening: u16) -> Self {
        Self {
            stream,
            phase,
            credit: Credit::default(),
            outbox: VecDeque::new(),
            readable: true,
            hung_up: false,
            deaf: false,
            guest_shut: 0,
            host_shut: 0,
            opening: Some(opening),
            shutdown_due: false,
            credit_due: false,
            queued: false,
        }
    }

    /// Takes a packet of the guest. `host_port` is what a successful request is answered with.
    pub fn on_packet(&mut self, header: &Header, data: &Buffers<'_>, host_port: u32) -> Fate {
        if self.phase == Phase::Draining {
            return Fate::Keep;
        }
        self.credit.heard(header);
        match (header.op, self.phase) {
            (op::RESPONSE, Phase::Requested) => self.established(host_port),
            (op::RESET, _) => self.let_go(Fate::Remove),
            (op::SHUTDOWN, Phase::Established) => self.on_shutdown(header.flags),
            (op::DATA, Phase::Established) => self.on_data(data),
            (op::CREDIT_UPDATE, _) => Fate::Keep,
            (op::CREDIT_REQUEST, _) => {
                self.credit_due = true;
                Fate::Keep
            }
            _ => Fate::Reset,
        }
    }

    /// The host's socket has something to tell.
    pub fn on_socket(&mut self, events: EventSet) -> Fate {
        self.hung_up |= events.intersects(EventSet::HANG_UP | EventSet::ERROR);
        self.readable |= events.intersects(EventSet::IN | EventSet::READ_HANG_UP) || self.hung_up;
        let read_all =
            self.host_shut & SHUTDOWN_SEND != 0 || self.guest_shut & SHUTDOWN_RECEIVE != 0;
        if self.hung_up && read_all {
            self.host_shut |= SHUTDOWN_SEND;
            self.shutdown_due = true;
        }
        if !self.outbox.is_empty() {
            self.flush();
        }
        match self.phase {
            Phase::Requested if self.hung_up => Fate::Reset,
            Phase::Draining if self.outbox.is_empty() || self.hung_up => Fate::Remove,
            _ => Fate::Keep,
        }
    }

    /// Whether there is, or may be, something for the guest.
    pub fn has_packet(&self) -> bool {
        match self.phase {
            Phase::Requested => self.opening.is_some(),
            Phase::Established => {
                self.opening.is_some() || self.shutdown_due || self.credit_due || self.may_read()
            }
            Phase::Draining => false,
        }
    }

    /// Makes the next packet for the guest: fills `data`, and in `header` what only this
    /// connection knows. `None` if there is nothing after all.
    pub fn next_packet(&mut self, header: &mut Header, data: &Buffers<'_>) -> Option<Fate> {
        if !self.has_packet() {
            return None;
        }
        let mut fate = Fate::Keep;
        if let Some(opening) = self.opening.take() {
            header.op = opening;
        } else if let Some(len) = self.read(data) {
            header.op = op::DATA;
            header.len = len;
        } else if self.shutdown_due {
            header.op = op::SHUTDOWN;
            header.flags = self.shut();
            if header.flags == SHUTDOWN_BOTH {
                fate = Fate::Remove;
            }
        } else if self.credit_due {
            header.op = op::CREDIT_UPDATE;
        } else {
            return None;
        }
        self.credit_due = false;
        self.credit.tell(header);
        Some(fate)
    }

    fn established(&mut self, host_port: u32) -> Fate {
        self.phase = Phase::Established;
        // A socket that nothing was written to yet takes a line whole, or is broken.
        let line = format!("OK {host_port}\n");
        match self.stream.write(line.as_bytes()) {
            Ok(written) if written == line.len() => Fate::Keep,
            _ => Fate::Reset,
        }
    }

    fn on_shutdown(&mut self, flags: u32) -> Fate {
        self.guest_shut |= flags & SHUTDOWN_BOTH;
        if self.guest_shut & SHUTDOWN_RECEIVE != 0 {
            // It fails only if the host program was faster, which is as good.
            let _ = self.stream.shutdown(Shutdown::Read);
        }
        self.finish_sending();
        if self.guest_shut == SHUTDOWN_BOTH {
            return self.let_go(Fate::Reset);
        }
        Fate::Keep
    }

    /// The guest is done: what it has sent is still passed on.
    fn let_go(&mut self, otherwise: Fate) -> Fate {
        let sent_all = self.guest_shut & SHUTDOWN_SEND != 0;
        if !sent_all || self.outbox.is_empty() {
            return otherwise;
        }
        self.phase = Phase::Draining;
        if otherwise == Fate::Reset {
            Fate::Drain
        } else {
            Fate::Keep
        }
    }

    fn on_data(&mut self, data: &Buffers<'_>) -> Fate {
        let len = data.len() as u32;
        if self.guest_shut & SHUTDOWN_SEND != 0 || !self.credit.receive(len) {
            return Fate::Reset;
        }
        for slice in data.slices() {
            self.pass_on(slice);
        }
        self.credit_due |= self.credit.worth_telling();
        Fate::Keep
    }

    /// Passes bytes on to the host program, at once if it takes them.
    fn pass_on(&mut self, slice: &VolatileSlice<'_>) {
        let mut done = 0;
        while self.outbox.is_empty() && !self.deaf && done < slice.len() {
            let written = slice
                .offset(done)
                .and_then(|rest| self.stream.write_volatile(&rest));
            match written.map_err(io_error) {
                Ok(written) => {
                    done += written;
                    self.credit.passed_on(written as u32);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.go_deaf(),
            }
        }
        let rest = slice.len() - done;
        if self.deaf {
            self.credit.passed_on(rest as u32);
        } else if rest > 0 {
            let mut bytes = vec![0; rest];
            if slice.read_slice(&mut bytes, done).is_ok() {
                self.outbox.extend(bytes);
            }
        }
    }

    /// The host program takes nothing any more, which the guest is to know.
    fn go_deaf(&mut self) {
        self.deaf = true;
        self.shutdown_due = true;
    }

    /// Passes on what had to wait.
    fn flush(&mut self) {
        while !self.outbox.is_empty() && !self.deaf {
            match self.stream.write(self.outbox.as_slices().0) {
                Ok(written) => {
                    self.outbox.drain(..written);
                    self.credit.passed_on(written as u32);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.go_deaf(),
            }
        }
        if self.deaf {
            self.credit.passed_on(self.outbox.len() as u32);
            self.outbox.clear();
        }
        if self.outbox.is_empty() {
            // Most connections never need the space again.
            self.outbox = VecDeque::new();
        }
        self.credit_due |= self.credit.worth_telling();
        self.finish_sending();
    }

    /// Once all that the guest has sent is passed on, the host program sees its end.
    fn finish_sending(&mut self) {
        if self.guest_shut & SHUTDOWN_SEND != 0 && self.outbox.is_empty() {
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    fn may_read(&self) -> bool {
        self.readable
            && self.credit.room() > 0
            && self.host_shut & SHUTDOWN_SEND == 0
            && self.guest_shut & SHUTDOWN_RECEIVE == 0
    }

    /// Reads for the guest into `data`, as much as it has room for. `None` if there is nothing;
    /// the end of the stream makes a shutdown due.
    fn read(&mut self, data: &Buffers<'_>) -> Option<u32> {
        let mut total = 0;
        // A guest may offer buffers and room of any size.
        let mut room = self.credit.room().min(MAX_DATA) as usize;
        for slice in data.slices() {
            let len = slice.len().min(room);
            if len == 0 || !self.may_read() {
                break;
            }
            let Ok(mut part) = slice.subslice(0, len) else {
                break;
            };
            let read = self.read_some(&mut part);
            total += read;
            room -= read;
            if read < len {
                break;
            }
        }
        self.credit.sent(total as u32);
        (total > 0).then_some(total as u32)
    }

    fn read_some(&mut self, part: &mut VolatileSlice<'_>) -> usize {
        loop {
            match self.stream.read_volatile(part).map_err(io_error) {
                Ok(read) if read > 0 => return read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.readable = false;
                    return 0;
                }
                // The end. An error is one, too: the host program went without reading all.
                ended => {
                    self.readable = false;
                    self.hung_up |= ended.is_err();
                    self.host_shut |= SHUTDOWN_SEND;
                    self.shutdown_due = true;
                    return 0;
                }
            }
        }
    }

    /// The flags of the shutdown that is due.
    fn shut(&mut self) -> u32 {
        self.shutdown_due = false;
        if self.hung_up || self.deaf {
            self.host_shut |= SHUTDOWN_RECEIVE;
        }
        self.host_shut
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

fn io_error(error: VolatileMemoryError) -> io::Error {
    match error {
        VolatileMemoryError::IOError(error) => error,
        other => io::Error::other(other),
    }
}
