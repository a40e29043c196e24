//! One sandbox's proxy: accepts, decides, dials, passes through.
//!
//! ```text
//! accept ── first bytes ── route ─┬─ pass (splice) ──▶ dial ──▶ host
//!  limits   sniff, or      policy ├─ intercept::serve ─▶ dial ──▶ host
//!           greeting              └─ refuse: reset, TLS alert
//! ```

mod accept;
mod connection;
mod counters;
mod dial;
mod egress;
mod first;
#[expect(
    clippy::module_inception,
    reason = "the folder is about it, the file is it"
)]
mod gate;
mod host;
mod limits;
mod pass;
mod pipes;
mod prefixed;
mod reached;
mod refuse;
mod route;
mod session;
mod shared;
#[cfg(test)]
mod tests;

pub use self::counters::Counts;
pub use self::dial::DialError;
pub use self::egress::{Egress, EgressConfig, EgressError};
pub use self::gate::Gate;
pub use self::host::HostAddresses;
pub use self::limits::Limits;
pub use self::prefixed::{GuestStream, Prefixed};
pub use self::reached::Reached;
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
