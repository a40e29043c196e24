//! The sockets through which everything comes that a guest may send.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpListener, UdpSocket};

use socket2::{Domain, Socket, Type};

use crate::address::{DNS, PROXY};

/// How many connections wait to be accepted. More of them than the proxy takes in a moment are a flood,
/// which SYN cookies answer without memory.
const BACKLOG: i32 = 1024;

/// How many connections to the resolver wait to be accepted: DNS over TCP is rare.
const DNS_BACKLOG: i32 = 64;

/// A namespace's sockets. None of them blocks.
#[derive(Debug)]
pub struct Sockets {
    /// Accepts every TCP connection of the guest but those to port 53. The local address of what it accepts
    /// is the address and port that the guest meant.
    pub tcp: TcpListener,
    /// Receives every datagram that the guest sends to port 53 of any address. What is sent back to where
    /// it came from reaches the guest as from the address that it asked.
    pub dns_udp: UdpSocket,
    /// Accepts every TCP connection of the guest to port 53 of any address.
    pub dns_tcp: TcpListener,
}

impl Sockets {
    /// Makes them in the calling thread's namespace, whose interfaces have their addresses.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self {
            tcp: listener(PROXY, BACKLOG)?,
            dns_udp: bound(DNS, Type::DGRAM)?.into(),
            dns_tcp: listener(DNS, DNS_BACKLOG)?,
        })
    }
}

/// A listener that may be given connections to addresses which are not this host's.
fn listener(address: SocketAddrV4, backlog: i32) -> io::Result<TcpListener> {
    let socket = bound(address, Type::STREAM)?;
    socket.set_ip_transparent_v4(true)?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

fn bound(address: SocketAddrV4, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, kind.nonblocking(), None)?;
    socket.bind(&SocketAddr::from(address).into())?;
    Ok(socket)
}
