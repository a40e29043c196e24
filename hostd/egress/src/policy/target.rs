//! [`Target`]: a host and a port.

use std::fmt;
use std::net::IpAddr;

use super::HostName;

/// A host: by name, or by address where a program used none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// A name, which the proxy resolves itself.
    Name(HostName),
    /// An address; IPv4 in IPv6 is written as IPv4.
    Ip(IpAddr),
}

/// Where something goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The host.
    pub host: Host,
    /// The TCP port.
    pub port: u16,
}

impl Target {
    /// A name and a port.
    pub fn name(name: HostName, port: u16) -> Self {
        Self {
            host: Host::Name(name),
            port,
        }
    }

    /// An address and a port.
    pub fn ip(address: IpAddr, port: u16) -> Self {
        Self {
            host: Host::Ip(address.to_canonical()),
            port,
        }
    }

    /// The name, if the host is known by one.
    pub fn host_name(&self) -> Option<&HostName> {
        match &self.host {
            Host::Name(name) => Some(name),
            Host::Ip(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}
