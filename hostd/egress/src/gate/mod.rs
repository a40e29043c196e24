//! One sandbox's proxy: accepts, decides, dials, passes through.

mod dial;
mod egress;
mod host;
mod limits;
mod prefixed;
mod session;
mod shared;

pub use self::dial::DialError;
pub use self::egress::{Egress, EgressConfig, EgressError};
pub use self::host::HostAddresses;
pub use self::limits::Limits;
pub use self::prefixed::{GuestStream, Prefixed};
pub use self::session::{Opening, Session};
pub use self::shared::Shared;

use std::net::{TcpListener, UdpSocket};

/// The sockets of one sandbox's namespace: everything that its guest sends arrives at one of them.
#[derive(Debug)]
pub struct Sockets {
    /// Every TCP connection: an accepted socket's local address is where the guest connected to.
    pub tcp: TcpListener,
    /// DNS by UDP.
    pub dns_udp: UdpSocket,
    /// DNS by TCP.
    pub dns_tcp: TcpListener,
}
