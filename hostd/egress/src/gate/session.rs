//! What is known of a connection that is opened.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Shared;
use crate::policy::Target;
use crate::sniff::ClientHello;

/// A connection that [`crate::intercept::serve`] takes over from the gate.
pub struct Session {
    /// What all connections of the sandbox share.
    pub shared: Arc<Shared>,
    /// Where the guest connected to; its port is the port that is meant.
    pub destination: SocketAddr,
    /// What it began with.
    pub opening: Opening,
    /// The host that an address is known by, where the requests themselves name none: a name that
    /// the sandbox was given the address for, or the bare address if the policy names it.
    pub fallback: Option<Target>,
}

/// What a connection began with.
#[derive(Debug, Clone)]
pub enum Opening {
    /// TLS.
    Tls {
        /// The host, which the policy allows.
        target: Target,
        /// What the client said.
        hello: ClientHello,
    },
    /// HTTP/1 in the clear. Each request has to be held against the policy.
    Http1,
    /// HTTP/2 in the clear, by prior knowledge. Each request has to be held against the policy.
    Http2,
}
