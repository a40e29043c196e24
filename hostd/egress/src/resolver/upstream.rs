//! Asking the host's DNS servers. The cache is shared by all sandboxes.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError, runtime::TokioRuntimeProvider};
use thiserror::Error;

use crate::policy::HostName;

/// Answers with more addresses are cut: what is left is enough to dial, and fits into 512 bytes.
pub const MAX_ADDRESSES: usize = 16;
/// How many answers the cache holds, for all sandboxes together.
const CACHE: u64 = 16_384;
/// An answer is believed for so long at most, whatever it says.
const LONGEST_TTL: Duration = Duration::from_secs(3600);
/// And a denial for so long.
const LONGEST_DENIAL: Duration = Duration::from_secs(60);
/// A server has so long to answer, twice; a program in the sandbox waits 5 to 10 seconds.
const SERVER_TIME: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
/// Questions in flight to one server, of all sandboxes.
const IN_FLIGHT: usize = 1024;

/// Which DNS servers are asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Servers {
    /// Those of the host's `/etc/resolv.conf`; the names of its `/etc/hosts` count, too.
    #[default]
    System,
    /// These, by UDP, and by TCP for what does not fit.
    Given(Vec<SocketAddr>),
}

/// The resolver of the host. A clone is another handle of the same.
#[derive(Clone)]
pub struct Upstream(Arc<TokioResolver>);

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// IPv4 addresses, at least one, at most [`MAX_ADDRESSES`].
    pub addresses: Vec<Ipv4Addr>,
    /// How long that is true for.
    pub ttl: Duration,
}

/// Why a name stands for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LookupError {
    /// There is no such name.
    #[error("there is no such name")]
    NoSuchName,
    /// The name has no IPv4 address.
    #[error("the name has no IPv4 address")]
    NoAddress,
    /// No server answered, or not with an answer.
    #[error("the host's DNS servers gave no answer")]
    Failed,
}

/// The resolver cannot be set up.
#[derive(Debug, Error)]
#[error("cannot read the host's DNS configuration")]
pub struct SetupError(#[source] NetError);

impl Upstream {
    /// A resolver that asks these servers.
    ///
    /// # Errors
    /// [`SetupError`]: the host has no DNS configuration that can be read.
    pub fn new(servers: &Servers) -> Result<Self, SetupError> {
        let mut builder = match servers {
            Servers::System => TokioResolver::builder_tokio().map_err(SetupError)?,
            Servers::Given(servers) => {
                TokioResolver::builder_with_config(config(servers), TokioRuntimeProvider::default())
            }
        };
        let hosts_file = match servers {
            Servers::System => ResolveHosts::Always,
            Servers::Given(_) => ResolveHosts::Never,
        };
        set(builder.options_mut(), hosts_file);
        Ok(Self(Arc::new(builder.build().map_err(SetupError)?)))
    }

    /// What the name stands for; CNAMEs are followed.
    ///
    /// # Errors
    /// [`LookupError`]: nothing that could be dialled.
    pub async fn lookup(&self, name: &HostName) -> Result<Answer, LookupError> {
        // With the dot at the end no search domain is tried.
        let name = Name::from_ascii(format!("{name}.")).map_err(|_| LookupError::NoSuchName)?;
        match self.0.lookup(name, RecordType::A).await {
            Ok(lookup) => answer(&lookup),
            Err(error) => Err(reason(&error)),
        }
    }
}

fn config(servers: &[SocketAddr]) -> ResolverConfig {
    let servers = servers.iter().map(|server| {
        let connections =
            [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
        NameServerConfig::new(server.ip(), true, connections.into())
    });
    ResolverConfig::from_name_servers(servers.collect())
}

fn set(options: &mut ResolverOpts, hosts_file: ResolveHosts) {
    options.use_hosts_file = hosts_file;
    options.timeout = SERVER_TIME;
    options.attempts = ATTEMPTS;
    options.cache_size = CACHE;
    options.max_active_requests = IN_FLIGHT;
    options.positive_max_ttl = Some(LONGEST_TTL);
    options.negative_max_ttl = Some(LONGEST_DENIAL);
    // Spoofed answers have to guess the letters' case, too.
    options.case_randomization = true;
    options.edns0 = true;
}

fn answer(lookup: &Lookup) -> Result<Answer, LookupError> {
    let address = |data: &RData| match data {
        RData::A(address) => Some(address.0),
        _ => None,
    };
    let records = lookup.answers().iter();
    let addresses: Vec<_> = records
        .filter_map(|record| address(&record.data))
        .take(MAX_ADDRESSES)
        .collect();
    if addresses.is_empty() {
        return Err(LookupError::NoAddress);
    }
    let ttl = lookup
        .valid_until()
        .saturating_duration_since(Instant::now());
    Ok(Answer { addresses, ttl })
}

fn reason(error: &NetError) -> LookupError {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => LookupError::NoSuchName,
            ResponseCode::NoError => LookupError::NoAddress,
            _ => LookupError::Failed,
        },
        _ => LookupError::Failed,
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream").finish_non_exhaustive()
    }
}
