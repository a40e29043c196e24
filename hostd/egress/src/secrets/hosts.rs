//! [`Hosts`]: where a secret may go.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use crate::policy::{Host, HostName, HostNameError, MAX_NAME, Target};

/// Hosts that one secret may be bound to: who has more wants `*.domain`.
pub const MAX_HOSTS: usize = 64;

/// The hosts that a secret is bound to, at least one: `host`, `*.host` (every name below it, not itself), or
/// an address, each with `:port` or for every port. There is no entry for every host: a secret for everybody is
/// none. Being bound to a host does not allow it: the policy does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts(Box<[Pattern]>);

#[derive(Clone, PartialEq, Eq)]
struct Pattern {
    what: What,
    port: Option<u16>,
}

#[derive(Clone, PartialEq, Eq)]
enum What {
    Name(HostName),
    Below(HostName),
    Ip(IpAddr),
}

/// What is wrong with a secret's hosts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HostsError {
    /// None at all.
    #[error("no hosts")]
    None,
    /// More than [`MAX_HOSTS`].
    #[error("{0} hosts; a secret is bound to at most {MAX_HOSTS}")]
    TooMany(usize),
    /// `*`.
    #[error("`*` would bind it to every host")]
    Every,
    /// A host that is none.
    #[error("host {host:?}")]
    Host {
        /// As it was written, cut.
        host: String,
        /// What is wrong with it.
        source: HostNameError,
    },
    /// A port that is none.
    #[error("host {0:?} has a port that is no number from 1 to 65535")]
    Port(String),
}

impl Hosts {
    /// Reads them.
    ///
    /// # Errors
    /// [`HostsError`] names the first that is wrong.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, HostsError> {
        match texts.len() {
            0 => return Err(HostsError::None),
            many if many > MAX_HOSTS => return Err(HostsError::TooMany(many)),
            _ => {}
        }
        let patterns = texts.iter().map(|text| text.as_ref().parse());
        patterns.collect::<Result<_, _>>().map(Self)
    }

    /// Whether this target is one of them.
    pub fn contain(&self, target: &Target) -> bool {
        self.0.iter().any(|pattern| pattern.matches(target))
    }

    /// Whether this host is one of them, at some port.
    pub fn contain_host(&self, host: &Host) -> bool {
        self.0.iter().any(|pattern| pattern.matches_host(host))
    }

    /// As they are written, in one spelling.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }
}

impl Pattern {
    fn matches(&self, target: &Target) -> bool {
        let port = self.port.is_none_or(|port| port == target.port);
        port && self.matches_host(&target.host)
    }

    fn matches_host(&self, host: &Host) -> bool {
        match (&self.what, host) {
            (What::Name(name), Host::Name(asked)) => name == asked,
            (What::Below(name), Host::Name(asked)) => {
                asked.parents().any(|parent| parent == name.as_str())
            }
            (What::Ip(address), Host::Ip(asked)) => *address == asked.to_canonical(),
            _ => false,
        }
    }
}

impl FromStr for Pattern {
    type Err = HostsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Some((address, port)) = address(text) {
            let what = What::Ip(address.to_canonical());
            return check_port(text, port).map(|port| Self { what, port });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(number(text, port)?)),
            None => (text, None),
        };
        let port = check_port(text, port)?;
        if host == "*" {
            return Err(HostsError::Every);
        }
        let below = host.strip_prefix("*.");
        let name = HostName::parse(below.unwrap_or(host)).map_err(|source| HostsError::Host {
            host: short(text),
            source,
        })?;
        let what = match below {
            Some(_) => What::Below(name),
            None => What::Name(name),
        };
        Ok(Self { what, port })
    }
}

/// An address, with or without port; IPv6 with a port is in brackets.
fn address(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some((socket.ip(), Some(socket.port())));
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse().ok()?;
    Some((address, None))
}

fn number(text: &str, port: &str) -> Result<u16, HostsError> {
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let number = port.parse().ok().filter(|_| digits);
    number.ok_or_else(|| HostsError::Port(short(text)))
}

fn check_port(text: &str, port: Option<u16>) -> Result<Option<u16>, HostsError> {
    match port {
        Some(0) => Err(HostsError::Port(short(text))),
        port => Ok(port),
    }
}

fn short(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Name(name) => write!(f, "{name}")?,
            What::Below(name) => write!(f, "*.{name}")?,
            What::Ip(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            What::Ip(address) => write!(f, "{address}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        let (host, port) = text.rsplit_once(':').unwrap();
        let port = port.parse().unwrap();
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => Target::ip(address, port),
            Err(_) => Target::name(host.parse().unwrap(), port),
        }
    }

    #[test]
    fn a_target_is_among_them_or_not() {
        for (pattern, asked, among) in [
            ("a.example", "a.example:443", true),
            ("A.Example.", "a.example:8443", true),
            ("a.example", "b.a.example:443", false),
            ("a.example", "xa.example:443", false),
            ("a.example:443", "a.example:443", true),
            ("a.example:443", "a.example:8443", false),
            ("*.a.example", "b.a.example:443", true),
            ("*.a.example", "c.b.a.example:443", true),
            ("*.a.example", "a.example:443", false),
            ("*.a.example", "ba.example:443", false),
            ("*.a.example:1", "b.a.example:443", false),
            ("203.0.113.7", "203.0.113.7:443", true),
            ("::ffff:203.0.113.7", "203.0.113.7:443", true),
            ("203.0.113.7:1", "203.0.113.7:443", false),
            ("[2001:db8::7]:443", "[2001:db8::7]:443", true),
            ("2001:db8::7", "[2001:db8::7]:1", true),
            ("203.0.113.7", "a.example:443", false),
        ] {
            let hosts = Hosts::parse(&[pattern]).unwrap_or_else(|e| panic!("{pattern}: {e}"));
            assert_eq!(hosts.contain(&target(asked)), among, "{pattern} {asked}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        assert_eq!(Hosts::parse::<&str>(&[]), Err(HostsError::None));
        assert_eq!(Hosts::parse(&["*"]), Err(HostsError::Every));
        assert_eq!(Hosts::parse(&["*:443"]), Err(HostsError::Every));
        for text in [
            "a.example:0",
            "a.example:x",
            "a.example:+1",
            "1.2.3.4:0",
            "a.example:65536",
        ] {
            assert!(
                matches!(Hosts::parse(&[text]), Err(HostsError::Port(_))),
                "{text}"
            );
        }
        for text in [
            "",
            "*.",
            "a..b",
            "a.*.example",
            "10.0.0.0/8",
            "a b",
            "a%2eb",
            "127.1",
        ] {
            assert!(
                matches!(Hosts::parse(&[text]), Err(HostsError::Host { .. })),
                "{text}"
            );
        }
        let many = vec!["a.example"; MAX_HOSTS + 1];
        assert_eq!(Hosts::parse(&many), Err(HostsError::TooMany(MAX_HOSTS + 1)));
    }

    #[test]
    fn they_are_written_in_one_spelling() {
        let hosts = Hosts::parse(&["A.Example.:443", "*.B.example", "2001:db8::0007"]).unwrap();
        let texts: Vec<_> = hosts.texts().collect();
        assert_eq!(texts, ["a.example:443", "*.b.example", "[2001:db8::7]"]);
    }
}
