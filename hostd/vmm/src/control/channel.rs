//! Packets and the descriptors that travel with them.
#![expect(unsafe_code, reason = "descriptors arrive as bare numbers")]

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockType, getsockopt, recvmsg, send, sockopt,
};
use prost::Message;
use protocol::vmm::v1::{Reply, Request};

use super::fds::Fds;

/// The longest packet; the protocol's own limit.
const MAX_PACKET_BYTES: usize = 128 << 10;
/// The kernel's limit of descriptors in one packet (`SCM_MAX_FD`).
const MAX_PACKET_FDS: usize = 253;
/// Where hostd leaves the socket.
const CONTROL_FD: i32 = 3;

/// Why the channel is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Not started by hostd.
    #[error("descriptor 3 is not a SOCK_SEQPACKET socket")]
    NotASocket,
    /// The socket failed.
    #[error("control socket")]
    Io(#[source] io::Error),
}

/// A packet that arrived.
#[derive(Debug)]
pub enum Incoming {
    /// A request and its descriptors.
    Request(Box<Request>, Fds),
    /// Bytes that are no request, with the reason.
    Garbage(String),
    /// hostd has closed its end.
    Closed,
}

/// The vmm's end of the socketpair.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Channel {
    /// Takes over the socket that hostd left as descriptor 3. Call once, at the start.
    ///
    /// # Errors
    ///
    /// [`ChannelError::NotASocket`].
    pub fn inherit() -> Result<Self, ChannelError> {
        // SAFETY: only borrowed to look at; a number that is not open is an error of the call.
        let borrowed = unsafe { BorrowedFd::borrow_raw(CONTROL_FD) };
        if getsockopt(&borrowed, sockopt::SockType) != Ok(SockType::SeqPacket) {
            return Err(ChannelError::NotASocket);
        }
        // SAFETY: the descriptor is open, and nothing else in this process knows it.
        let socket = unsafe { OwnedFd::from_raw_fd(CONTROL_FD) };
        Ok(Self {
            socket,
            buffer: vec![0; MAX_PACKET_BYTES],
        })
    }

    /// Waits for the next packet.
    ///
    /// # Errors
    ///
    /// When the socket fails.
    pub fn receive(&mut self) -> Result<Incoming, ChannelError> {
        let mut ancillary = nix::cmsg_space!([i32; MAX_PACKET_FDS]);
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(
            self.socket.as_raw_fd(),
            &mut parts,
            Some(&mut ancillary),
            flags,
        )
        .map_err(|errno| ChannelError::Io(errno.into()))?;
        let mut fds = Vec::new();
        let messages = received
            .cmsgs()
            .map_err(|errno| ChannelError::Io(errno.into()))?;
        for message in messages {
            if let ControlMessageOwned::ScmRights(numbers) = message {
                // SAFETY: the kernel has just installed these descriptors for us.
                fds.extend(
                    numbers
                        .iter()
                        .map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }),
                );
            }
        }
        let (bytes, flags) = (received.bytes, received.flags);
        if bytes == 0 {
            return Ok(Incoming::Closed);
        }
        if flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
            return Ok(Incoming::Garbage("packet too long".into()));
        }
        let packet = self.buffer.get(..bytes).unwrap_or_default();
        Ok(match Request::decode(packet) {
            Ok(request) => Incoming::Request(Box::new(request), Fds::new(fds)),
            Err(error) => Incoming::Garbage(error.to_string()),
        })
    }

    /// Sends a reply or an event.
    ///
    /// # Errors
    ///
    /// When hostd is gone.
    pub fn send(&self, reply: &Reply) -> Result<(), ChannelError> {
        let packet = reply.encode_to_vec();
        send(self.socket.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL)
            .map(|_| ())
            .map_err(|errno| ChannelError::Io(errno.into()))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
