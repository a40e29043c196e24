//! Which names, ports and addresses a sandbox may reach. Nothing here knows of sockets.
//!
//! A policy is a default and two lists. An entry is one of these, with `:port` or for every port:
//!
//! | entry | stands for |
//! |---|---|
//! | `example.com` | this name alone |
//! | `*.example.com` | every name below it, however deep; not `example.com` itself |
//! | `*` | every name |
//! | `203.0.113.7`, `[2001:db8::7]`, `10.0.0.0/8` | addresses |
//! | `db.example+private` | this name, also where it stands for a private, shared or loopback address |
//! | `api.example+inspect` | this name, and TLS to it is opened though no secret needs it |
//!
//! Deny wins over allow, allow wins over the default. Three things the default `allow` and `*`
//! do not do, and only an entry of the right kind does:
//!
//! * a connection to a bare address, which no name of the sandbox stands for, needs an address entry;
//! * an address of a special class ([`AddressClass`]) needs an entry that *names* it: its network
//!   lies within the class's range, so `10.0.0.0/8` opens the private network and `0.0.0.0/0` does
//!   not; the host's own addresses and metadata services must be named one by one;
//! * a name that stands for such an address is refused like the address (rebinding), unless its
//!   entry says `+private`, which opens neither link-local addresses nor metadata services.
//!
//! IPv4 written as IPv6 (`::ffff:10.0.0.1`) is IPv4; what else carries IPv4 inside is refused.

mod address;
mod entry;
mod host_name;
mod live;
mod refusal;
mod rules;
mod target;
#[cfg(test)]
mod tests;

pub use self::address::{AddressClass, OwnAddresses};
pub use self::entry::EntryError;
pub use self::host_name::{HostName, HostNameError, MAX_LABEL, MAX_NAME};
pub use self::live::LivePolicy;
pub use self::refusal::{Refusal, Verdict};
pub use self::target::{Host, Target};

use std::net::IpAddr;

use thiserror::Error;

use self::entry::Entry;
use self::rules::Rules;

/// A policy has at most so many entries: who needs more wants another default.
pub const MAX_ENTRIES: usize = 10_000;

/// What is not on a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fallback {
    /// Names are allowed; bare and special addresses are not.
    Allow,
    /// Refused.
    #[default]
    Deny,
}

/// A policy as it is written.
#[derive(Debug, Clone, Default)]
pub struct PolicySpec {
    /// What is not on a list.
    pub fallback: Fallback,
    /// What is allowed.
    pub allow: Vec<String>,
    /// What is refused, allowed or not.
    pub deny: Vec<String>,
}

/// A policy as it is applied.
#[derive(Debug, Default)]
pub struct Policy {
    fallback: Fallback,
    allow: Rules,
    deny: Rules,
}

/// What is wrong with a [`PolicySpec`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// An entry that cannot be understood.
    #[error("entry {entry:?} of the {list} list")]
    Entry {
        /// `allow` or `deny`.
        list: &'static str,
        /// The entry as it was written.
        entry: String,
        /// What is wrong with it.
        source: EntryError,
    },
    /// More than [`MAX_ENTRIES`].
    #[error("{0} entries; a policy has at most {MAX_ENTRIES}")]
    TooMany(usize),
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`PolicyError`] names the first entry that is wrong.
    pub fn parse(spec: &PolicySpec) -> Result<Self, PolicyError> {
        let entries = spec.allow.len().saturating_add(spec.deny.len());
        if entries > MAX_ENTRIES {
            return Err(PolicyError::TooMany(entries));
        }
        Ok(Self {
            fallback: spec.fallback,
            allow: parse_list("allow", &spec.allow, Entry::parse)?,
            deny: parse_list("deny", &spec.deny, Entry::parse_deny)?,
        })
    }

    /// Refuses everything.
    pub fn deny_all() -> Self {
        Self::default()
    }

    /// Whether this name may be reached at this port, whatever it stands for: see
    /// [`Policy::check_address`] for that.
    ///
    /// # Errors
    /// [`Refusal`] says why not.
    pub fn check(&self, name: &HostName, port: u16) -> Verdict {
        self.check_name(name, Some(port))
    }

    /// Whether this name may be reached at any port: what the resolver asks.
    ///
    /// # Errors
    /// [`Refusal`] says why not.
    pub fn check_any_port(&self, name: &HostName) -> Verdict {
        self.check_name(name, None)
    }

    fn check_name(&self, name: &HostName, port: Option<u16>) -> Verdict {
        if let Some(entry) = self.deny.denied(name, port) {
            return Err(Refusal::Denied {
                entry: entry.text.clone(),
            });
        }
        let allowed =
            self.fallback == Fallback::Allow || self.allow.names(name, port).next().is_some();
        allowed.then_some(()).ok_or(Refusal::NotAllowed)
    }

    /// Whether a name that may be reached may be reached *there*: `address` is what it stands for.
    /// Without a port: whether at some port, which is what the resolver asks.
    ///
    /// # Errors
    /// [`Refusal`] says why not.
    pub fn check_address(
        &self,
        name: &HostName,
        address: IpAddr,
        port: impl Into<Option<u16>>,
        own: &OwnAddresses,
    ) -> Verdict {
        let (address, port) = (address.to_canonical(), port.into());
        self.check_denied(address, port)?;
        let Some((class, range)) = own.classify(address) else {
            return Ok(());
        };
        let private = class.opens_to_private_names()
            && self.allow.names(name, port).any(|entry| entry.private);
        if private || self.allow.name_special(address, port, range) {
            return Ok(());
        }
        Err(Refusal::Special { address, class })
    }

    /// Whether an address may be reached that no name stands for.
    ///
    /// # Errors
    /// [`Refusal`] says why not.
    pub fn check_ip(&self, address: IpAddr, port: u16, own: &OwnAddresses) -> Verdict {
        let (address, port) = (address.to_canonical(), Some(port));
        self.check_denied(address, port)?;
        if let Some((class, range)) = own.classify(address) {
            let named = self.allow.name_special(address, port, range);
            return named
                .then_some(())
                .ok_or(Refusal::Special { address, class });
        }
        let named = self.allow.addresses(address, port).next().is_some();
        named.then_some(()).ok_or(Refusal::BareAddress)
    }

    fn check_denied(&self, address: IpAddr, port: Option<u16>) -> Verdict {
        match self.deny.denied_address(address, port) {
            Some(entry) => Err(Refusal::Denied {
                entry: entry.text.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Whether TLS to this target is opened though no secret needs it.
    pub fn inspects(&self, target: &Target) -> bool {
        match &target.host {
            Host::Name(name) => self
                .allow
                .names(name, Some(target.port))
                .any(|entry| entry.inspect),
            Host::Ip(address) => self
                .allow
                .addresses(*address, Some(target.port))
                .any(|entry| entry.inspect),
        }
    }
}

fn parse_list(
    list: &'static str,
    entries: &[String],
    parse: fn(&str) -> Result<Entry, EntryError>,
) -> Result<Rules, PolicyError> {
    entries
        .iter()
        .map(|entry| {
            parse(entry).map_err(|source| PolicyError::Entry {
                list,
                entry: entry.chars().take(MAX_NAME).collect(),
                source,
            })
        })
        .collect()
}
