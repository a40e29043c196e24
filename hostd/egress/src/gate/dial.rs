//! Connections to upstreams: only where the policy allows, only to addresses that our own resolver gave.

use std::io;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::{Reached, Shared};
use crate::policy::{Host, HostName, Refusal, Target};
use crate::resolver::LookupError;

/// A name's addresses are tried in turn, so many at most: each may cost [`super::Limits::connect`].
const TRIED: usize = 4;

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum DialError {
    /// The policy refuses the name, or all addresses that it stands for.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// So many names were looked up that one more could be a message to whoever answers them.
    #[error("too many different names are connected to")]
    TooManyNames,
    /// Every place for connections to hosts is taken.
    #[error("too many connections to hosts are open")]
    TooManyConnections,
    /// The name stands for nothing.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The host does not accept connections there.
    #[error("no connection to {address}: {}", .source.kind())]
    Connect {
        /// The last address that was tried.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl DialError {
    /// A short word for counters.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::TooManyNames => "too-many-names",
            Self::TooManyConnections => "too-many-connections",
            Self::Lookup(_) => "unresolved",
            Self::Connect { .. } => "unreachable",
        }
    }
}

impl Shared {
    /// Connects to a name, if the policy allows it now.
    ///
    /// # Errors
    /// [`DialError`] says what is in the way.
    pub async fn dial(&self, name: &HostName, port: u16) -> Result<Reached, DialError> {
        // Refused names are not looked up: a question is a way out, too.
        self.policy.load().check(name, port)?;
        if !self.rates.name(name) {
            return Err(DialError::TooManyNames);
        }
        self.dial_given(name, port).await
    }

    /// Connects to a name that whoever made the sandbox gave, and that the guest neither knows nor chooses: the policy's
    /// names do not matter. Which addresses it may stand for is as for every name.
    ///
    /// # Errors
    /// [`DialError`] says what is in the way.
    pub async fn dial_given(&self, name: &HostName, port: u16) -> Result<Reached, DialError> {
        let answer = self.resolver.lookup(name).await?;
        let addresses = answer.addresses.into_iter().map(IpAddr::V4);
        self.connect(self.dialable(name, addresses, port)?).await
    }

    /// Connects to an address that the name was resolved to for this sandbox earlier.
    ///
    /// # Errors
    /// [`DialError`] says what is in the way.
    pub async fn dial_at(
        &self,
        name: &HostName,
        address: IpAddr,
        port: u16,
    ) -> Result<Reached, DialError> {
        self.policy.load().check(name, port)?;
        self.connect(self.dialable(name, [address].into_iter(), port)?)
            .await
    }

    /// Connects to an address that no name stands for, if the policy names it.
    ///
    /// # Errors
    /// [`DialError`] says what is in the way.
    pub async fn dial_ip(&self, address: IpAddr, port: u16) -> Result<Reached, DialError> {
        let policy = self.policy.load();
        policy.check_ip(address, port, &self.host.load())?;
        self.connect(vec![SocketAddr::new(address.to_canonical(), port)])
            .await
    }

    /// Connects to a name or an address.
    ///
    /// # Errors
    /// [`DialError`] says what is in the way.
    pub async fn dial_target(&self, target: &Target) -> Result<Reached, DialError> {
        match &target.host {
            Host::Name(name) => self.dial(name, target.port).await,
            Host::Ip(address) => self.dial_ip(*address, target.port).await,
        }
    }

    /// The addresses that the name may be dialled at. If there is none, the first one's refusal.
    fn dialable(
        &self,
        name: &HostName,
        addresses: impl Iterator<Item = IpAddr>,
        port: u16,
    ) -> Result<Vec<SocketAddr>, DialError> {
        let (policy, own) = (self.policy.load(), self.host.load());
        let mut refusal = None;
        let allowed: Vec<_> = addresses
            .filter(
                |address| match policy.check_address(name, *address, port, &own) {
                    Ok(()) => true,
                    Err(why) => {
                        refusal.get_or_insert(why);
                        false
                    }
                },
            )
            .map(|address| SocketAddr::new(address, port))
            .collect();
        match refusal {
            Some(why) if allowed.is_empty() => Err(why.into()),
            _ => Ok(allowed),
        }
    }

    async fn connect(&self, addresses: Vec<SocketAddr>) -> Result<Reached, DialError> {
        let mut error = DialError::Lookup(LookupError::NoAddress);
        let place = self.place()?;
        for address in addresses.into_iter().take(TRIED) {
            match self.connect_one(address).await {
                Ok(stream) => return Ok(Reached::new(stream, address.ip(), place)),
                Err(source) => error = DialError::Connect { address, source },
            }
        }
        Err(error)
    }

    /// A place for one more connection to a host.
    fn place(&self) -> Result<OwnedSemaphorePermit, DialError> {
        let place = self.hosts.clone().try_acquire_owned();
        place.map_err(|_| DialError::TooManyConnections)
    }

    async fn connect_one(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = timeout(self.limits.connect, TcpStream::connect(address)).await??;
        // The guest's own stack has decided already what is one packet.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
