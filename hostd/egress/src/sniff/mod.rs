//! The first bytes of a connection: ClientHello or HTTP head.

use crate::policy::HostName;

/// What matters of a ClientHello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The name that the client asks for. An address is no name, and does not count.
    pub name: Option<HostName>,
    /// The protocols that the client offers, in its order.
    pub alpn: Vec<Vec<u8>>,
    /// Whether the ClientHello has an encrypted one inside, or pretends to.
    pub ech: bool,
}
