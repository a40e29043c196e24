//! What is configured of the sandboxes' networks.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// Where name servers listen when nothing else is said.
const DNS_PORT: u16 = 53;

/// Whether sandboxes have networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NetworkMode {
    /// When this host can; else hostd says why not, and starts without
    Auto,
    /// hostd does not start without
    On,
    /// They have none
    Off,
}

/// The checked options.
#[derive(Clone, Debug)]
pub struct NetworkConfig {
    /// Whether there are any.
    pub mode: NetworkMode,
    /// Who knows the names; empty: those that this host asks.
    pub name_servers: Vec<NameServer>,
    /// Files of authorities (PEM) that vouch for upstreams beside those that this host trusts.
    pub upstream_ca: Vec<PathBuf>,
    /// How many networks are kept ready.
    pub pool: usize,
}

/// A name server: an address, with a port when it is not 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameServer(pub SocketAddr);

impl FromStr for NameServer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = || Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, DNS_PORT));
        let address = text.parse().ok().or_else(plain);
        address
            .map(Self)
            .ok_or("must be ADDRESS or ADDRESS:PORT, like 9.9.9.9 or [2620:fe::fe]:53")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_have_the_usual_port() {
        for (text, address) in [
            ("9.9.9.9", "9.9.9.9:53"),
            ("127.0.0.1:5353", "127.0.0.1:5353"),
            ("::1", "[::1]:53"),
            ("[::1]:54", "[::1]:54"),
        ] {
            let server: NameServer = text.parse().unwrap();
            assert_eq!(server.0.to_string(), address);
        }
        assert!("dns.example".parse::<NameServer>().is_err());
    }
}
