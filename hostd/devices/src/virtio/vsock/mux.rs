//! Every stream of the device: who they are, whose turn it is, and what the guest is to be told
//! of those that are no more.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::Connector;
use super::connection::{Connection, Fate};
use super::handshake::Handshake;
use super::packet::{Buffers, HOST_CID, Header, TYPE_STREAM, op};

/// Streams and handshakes together. Each has a descriptor, and each stream whose host program is
/// slow up to [`WINDOW`](super::credit::WINDOW) bytes of buffer: 256 MiB if all are, which takes
/// as many host programs that do not read.
const MAX_CONNECTIONS: usize = 1024;

/// Resets that wait for room in the receive queue. A guest that provokes more is not listened
/// to until it has taken some of them.
const MAX_RESETS: usize = 256;

/// Events taken from the kernel at a time.
const BATCH: usize = 64;

/// Host ports of streams that the host has asked for: the upper half, so that they never meet
/// a port on which something could listen.
pub const FIRST_HOST_PORT: u32 = 1 << 30;

/// A guest port that no stream has: the token of a handshake has it in that place.
const NO_GUEST_PORT: u32 = u32::MAX;
const LISTENER: u64 = u64::MAX;

/// The two ends of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    pub host_port: u32,
    pub guest_port: u32,
}

impl Key {
    fn token(self) -> u64 {
        u64::from(self.host_port) << 32 | u64::from(self.guest_port)
    }

    fn from_token(token: u64) -> Self {
        Self {
            host_port: (token >> 32) as u32,
            guest_port: token as u32,
        }
    }
}

/// All streams, and the sockets behind them in an epoll set of their own.
pub struct Mux {
    guest_cid: u64,
    epoll: Epoll,
    listener: UnixListener,
    listening: bool,
    connector: Option<Box<dyn Connector>>,
    connections: HashMap<Key, Connection>,
    handshakes: HashMap<u32, Handshake>,
    /// Connections with something for the guest, each once.
    ready: VecDeque<Key>,
    resets: VecDeque<Key>,
    next_port: u32,
}

impl Mux {
    /// No streams yet, and nobody listening.
    ///
    /// # Errors
    /// When the kernel gives no descriptor.
    pub fn new(
        guest_cid: u64,
        listener: UnixListener,
        connector: Option<Box<dyn Connector>>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self {
            guest_cid,
            epoll: Epoll::new()?,
            listener,
            listening: false,
            connector,
            connections: HashMap::new(),
            handshakes: HashMap::new(),
            ready: VecDeque::new(),
            resets: VecDeque::new(),
            next_port: FIRST_HOST_PORT,
        })
    }

    /// The port that the next stream gets. A restored guest may still have streams with lower
    /// ones, so the number goes on from where it was.
    pub fn next_port(&self) -> u32 {
        self.next_port
    }

    /// Goes on from a saved port.
    pub fn set_next_port(&mut self, port: u32) {
        self.next_port = port.max(FIRST_HOST_PORT);
    }

    /// From now on host programs can connect.
    pub fn listen(&mut self) {
        if self.listening {
            return;
        }
        self.listening = self.watch(ControlOperation::Add, self.listener.as_raw_fd(), LISTENER);
    }

    /// Ends every stream without a word to the guest, and lets nobody connect.
    pub fn clear(&mut self) {
        self.connections.clear();
        self.handshakes.clear();
        self.ready.clear();
        self.resets.clear();
        if self.listening {
            let fd = self.listener.as_raw_fd();
            let _ = self
                .epoll
                .ctl(ControlOperation::Delete, fd, EpollEvent::default());
            self.listening = false;
        }
    }

    /// Handles what the host's sockets have to tell.
    pub fn on_sockets(&mut self) {
        let mut events = [EpollEvent::default(); BATCH];
        let count = match self.epoll.wait(0, &mut events) {
            Ok(count) => count,
            Err(error) => {
                tracing::debug!(%error, "vsock: waiting for sockets");
                return;
            }
        };
        for event in events.iter().take(count) {
            self.on_socket(event.data(), event.event_set());
        }
    }

    /// Whether the guest's packets can be taken: each may have to be answered with a reset.
    pub fn has_room(&self) -> bool {
        self.resets.len() < MAX_RESETS
    }

    /// Takes a packet of the guest.
    pub fn on_packet(&mut self, header: &Header, data: &Buffers<'_>) {
        if header.src_cid != self.guest_cid || header.dst_cid != HOST_CID {
            tracing::debug!(?header, "vsock: packet from or to somebody else");
            return;
        }
        let key = Key {
            host_port: header.dst_port,
            guest_port: header.src_port,
        };
        if header.kind != TYPE_STREAM {
            self.reset(key, header);
        } else if let Some(connection) = self.connections.get_mut(&key) {
            let fate = connection.on_packet(header, data, key.host_port);
            self.settle(key, fate);
        } else if header.op == op::REQUEST {
            self.on_request(key, header);
        } else {
            self.reset(key, header);
        }
    }

    /// Whether there is, or may be, something for the guest.
    pub fn has_packet(&self) -> bool {
        !self.resets.is_empty() || !self.ready.is_empty()
    }

    /// Makes the next packet for the guest, with `data` as room for its data. `None` if there is
    /// nothing after all.
    pub fn next_packet(&mut self, data: &Buffers<'_>) -> Option<Header> {
        if let Some(key) = self.resets.pop_front() {
            return Some(Header {
                op: op::RESET,
                ..self.header(key)
            });
        }
        while let Some(key) = self.ready.pop_front() {
            let mut header = self.header(key);
            let Some(connection) = self.connections.get_mut(&key) else {
                continue;
            };
            connection.queued = false;
            if let Some(fate) = connection.next_packet(&mut header, data) {
                self.settle(key, fate);
                return Some(header);
            }
        }
        None
    }

    fn header(&self, key: Key) -> Header {
        Header {
            src_cid: HOST_CID,
            dst_cid: self.guest_cid,
            src_port: key.host_port,
            dst_port: key.guest_port,
            kind: TYPE_STREAM,
            ..Header::default()
        }
    }

    fn on_socket(&mut self, token: u64, events: EventSet) {
        let key = Key::from_token(token);
        if token == LISTENER {
            self.accept();
        } else if key.guest_port == NO_GUEST_PORT {
            self.on_handshake(key.host_port);
        } else if let Some(connection) = self.connections.get_mut(&key) {
            let fate = connection.on_socket(events);
            self.settle(key, fate);
        }
    }

    /// Takes in everybody who is waiting at the listener.
    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => self.greet(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "vsock: cannot accept a connection");
                    return;
                }
            }
        }
    }

    fn greet(&mut self, stream: UnixStream) {
        if self.is_full() {
            tracing::warn!("vsock: too many connections");
            return;
        }
        let port = self.take_port();
        let key = Key {
            host_port: port,
            guest_port: NO_GUEST_PORT,
        };
        match Handshake::new(stream) {
            Ok(handshake) => {
                if self.watch(ControlOperation::Add, handshake.as_raw_fd(), key.token()) {
                    self.handshakes.insert(port, handshake);
                }
            }
            Err(error) => tracing::warn!(%error, "vsock: cannot use a connection"),
        }
    }

    /// A host program may have said where it wants to connect to.
    fn on_handshake(&mut self, host_port: u32) {
        let Some(handshake) = self.handshakes.get(&host_port) else {
            return;
        };
        let guest_port = match handshake.port() {
            Ok(Some(port)) => port,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "vsock: handshake");
                self.handshakes.remove(&host_port);
                return;
            }
        };
        let key = Key {
            host_port,
            guest_port,
        };
        // Ports begin again after 3 billion, and a guest chooses its own streams' ports.
        let taken = self.connections.contains_key(&key);
        if let Some(handshake) = self.handshakes.remove(&host_port).filter(|_| !taken) {
            let stream = handshake.into_stream();
            self.add(key, Connection::request(stream), ControlOperation::Modify);
        }
    }

    /// The guest wants to connect to the host.
    fn on_request(&mut self, key: Key, header: &Header) {
        let full = self.is_full();
        let connector = self
            .connector
            .as_mut()
            .filter(|_| !full && key.guest_port != NO_GUEST_PORT);
        let stream = connector.and_then(|connector| {
            let stream = connector.connect(key.host_port).ok()?;
            stream.set_nonblocking(true).ok()?;
            Some(stream)
        });
        match stream {
            Some(stream) => {
                self.add(
                    key,
                    Connection::accept(stream, header),
                    ControlOperation::Add,
                );
            }
            None => self.reset(key, header),
        }
    }

    fn add(&mut self, key: Key, connection: Connection, how: ControlOperation) {
        if self.watch(how, connection.as_raw_fd(), key.token()) {
            self.connections.insert(key, connection);
            self.settle(key, Fate::Keep);
        }
    }

    /// Does what an event means for the connection as a whole.
    fn settle(&mut self, key: Key, fate: Fate) {
        if matches!(fate, Fate::Drain | Fate::Reset) {
            self.resets.push_back(key);
        }
        if matches!(fate, Fate::Remove | Fate::Reset) {
            // Closing the descriptor takes it out of the epoll set, too.
            self.connections.remove(&key);
        } else if let Some(connection) = self.connections.get_mut(&key)
            && !connection.queued
            && connection.has_packet()
        {
            connection.queued = true;
            self.ready.push_back(key);
        }
    }

    /// Answers a packet that belongs to no stream. A reset is never answered, or two sides could
    /// go on for ever.
    fn reset(&mut self, key: Key, header: &Header) {
        if header.op != op::RESET {
            self.resets.push_back(key);
        }
    }

    fn is_full(&self) -> bool {
        self.connections.len() + self.handshakes.len() >= MAX_CONNECTIONS
    }

    fn take_port(&mut self) -> u32 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_HOST_PORT);
        port
    }

    /// Watches a socket, or goes on watching it under another token. Edge-triggered: a socket is
    /// watched once and never again told what to wait for.
    fn watch(&self, how: ControlOperation, fd: RawFd, token: u64) -> bool {
        let events =
            EventSet::IN | EventSet::OUT | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED;
        let watched = self.epoll.ctl(how, fd, EpollEvent::new(events, token));
        if let Err(error) = &watched {
            tracing::warn!(%error, "vsock: cannot watch a socket");
        }
        watched.is_ok()
    }
}

impl AsRawFd for Mux {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }
}
