//! The host's own addresses, which change.

use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use crate::policy::OwnAddresses;

/// An address that the host got in the last few seconds serves nothing yet.
const FRESH: Duration = Duration::from_secs(5);

/// The host's own addresses, read again when they are old.
#[derive(Debug)]
pub struct HostAddresses(Mutex<(Instant, OwnAddresses)>);

impl HostAddresses {
    /// Reads them for the first time.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn read() -> io::Result<Self> {
        Ok(Self(Mutex::new((Instant::now(), interfaces()?))))
    }

    /// The addresses, a few seconds old at most; older ones if the system does not tell.
    pub fn load(&self) -> OwnAddresses {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.0.elapsed() > FRESH {
            let addresses = interfaces().unwrap_or_else(|_| cached.1.clone());
            *cached = (Instant::now(), addresses);
        }
        cached.1.clone()
    }
}

fn interfaces() -> io::Result<OwnAddresses> {
    let interfaces = getifaddrs()?;
    Ok(interfaces.filter_map(|i| ip(&i.address?)).collect())
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|a| a.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|a| a.ip().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Policy, PolicySpec};

    #[test]
    fn loopback_is_there() {
        let own = HostAddresses::read().unwrap().load();
        let all = PolicySpec {
            allow: vec!["0.0.0.0/0".into()],
            ..PolicySpec::default()
        };
        let policy = Policy::parse(&all).unwrap();
        assert!(
            policy
                .check_ip("127.0.0.1".parse().unwrap(), 80, &own)
                .is_err()
        );
    }
}
