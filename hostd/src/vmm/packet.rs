//! Packets with descriptors over a SOCK_SEQPACKET socket, without blocking.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, setsockopt,
    socketpair, sockopt,
};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// The largest packet either side sends, in bytes: a command line and eight disks with room to spare.
pub const MAX_PACKET_BYTES: usize = 128 << 10;

/// One end of a packet socket, for one reader and any number of writers.
#[derive(Debug)]
pub struct PacketSocket {
    // Tokio has no type for SOCK_SEQPACKET; it waits for one as for a datagram socket.
    socket: UnixDatagram,
}

impl PacketSocket {
    /// A pair: ours, and the one for a child. Needs a tokio runtime.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        // The default send buffer would refuse the largest packet on small hosts.
        setsockopt(&ours, sockopt::SndBuf, &(2 * MAX_PACKET_BYTES))?;
        setsockopt(&theirs, sockopt::SndBuf, &(2 * MAX_PACKET_BYTES))?;
        // The vmm is synchronous: its end blocks. The flag belongs to the file description, which is not shared.
        let status = nix::fcntl::OFlag::O_RDWR;
        nix::fcntl::fcntl(&theirs, nix::fcntl::FcntlArg::F_SETFL(status))?;
        Ok((
            Self {
                socket: UnixDatagram::from_std(ours.into())?,
            },
            theirs,
        ))
    }

    /// Sends one packet with descriptors.
    pub async fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&raw)];
        let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
        self.socket
            .async_io(Interest::WRITABLE, || {
                let flags = MsgFlags::MSG_NOSIGNAL;
                sendmsg::<()>(
                    self.socket.as_raw_fd(),
                    &[IoSlice::new(bytes)],
                    control,
                    flags,
                    None,
                )
                .map_err(io::Error::from)
            })
            .await
            .map(drop)
    }

    /// Receives one packet; empty means that the other end is closed. Descriptors are not accepted:
    /// without room for them the kernel drops them.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket
            .async_io(Interest::READABLE, || {
                let mut slices = [IoSliceMut::new(buffer)];
                let message = recvmsg::<()>(
                    self.socket.as_raw_fd(),
                    &mut slices,
                    None,
                    MsgFlags::MSG_CMSG_CLOEXEC,
                )?;
                if message.flags.contains(MsgFlags::MSG_TRUNC) {
                    return Err(Errno::EMSGSIZE.into());
                }
                Ok(message.bytes)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::AsFd;

    #[tokio::test]
    async fn descriptors_travel_and_oversized_packets_are_errors() {
        let (ours, theirs) = PacketSocket::pair().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"hello").unwrap();
        ours.send(b"one", &[file.as_fd()]).await.unwrap();

        let mut space = nix::cmsg_space!([RawFd; 4]);
        let mut bytes = [0u8; 16];
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let got = recvmsg::<()>(
            theirs.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .unwrap();
        assert_eq!(got.bytes, 3);
        let rights = got.cmsgs().unwrap().next().unwrap();
        let nix::sys::socket::ControlMessageOwned::ScmRights(fds) = rights else {
            panic!("no descriptors")
        };
        let mut again = std::fs::File::open(format!("/proc/self/fd/{}", fds[0])).unwrap();
        let mut text = String::new();
        again.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");

        sendmsg::<()>(
            theirs.as_raw_fd(),
            &[IoSlice::new(&[7; 64])],
            &[],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        let error = ours.receive(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::EMSGSIZE as i32));
        drop(theirs);
        assert_eq!(ours.receive(&mut [0; 8]).await.unwrap(), 0);
    }
}
