//! One entry of a policy's lists.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use thiserror::Error;

use super::{HostName, HostNameError};

/// An entry as it was understood.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) what: What,
    /// Every port, if none is given.
    pub(super) port: Option<u16>,
    /// The name may stand for private addresses.
    pub(super) private: bool,
    /// TLS to the name is opened, secrets or not.
    pub(super) inspect: bool,
    /// As it was written.
    pub(super) text: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// Every name.
    Every,
    /// This name.
    Name(HostName),
    /// The names below this one, not itself.
    Below(HostName),
    /// These addresses.
    Net(IpNet),
}

/// What is wrong with an entry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EntryError {
    /// The host is no name, address or network.
    #[error("no host")]
    Host(#[from] HostNameError),
    /// The port is no number from 1 to 65535.
    #[error("the port is no number from 1 to 65535")]
    Port,
    /// A network's prefix is no number, or too long.
    #[error("no network: an address, a slash and the length of the prefix")]
    Net,
    /// A network with bits behind its prefix: a typing error more often than not.
    #[error("the network has bits behind its prefix; {0} would be one")]
    HostBits(IpNet),
    /// Something after a plus sign that has no meaning, or none here.
    #[error("{0:?} after the plus sign: a name of an allow list may have `private` and `inspect`")]
    Flag(String),
}

impl Entry {
    /// Reads `host`, `*.host`, `*`, `address`, `network`, each with `:port`, names with `+private`
    /// and `+inspect`.
    pub(super) fn parse(text: &str) -> Result<Self, EntryError> {
        let text = text.trim();
        let mut parts = text.split('+');
        let (host, port) = split_port(parts.next().unwrap_or_default())?;
        let mut entry = Self {
            what: What::parse(host)?,
            port,
            private: false,
            inspect: false,
            text: text.into(),
        };
        parts.try_for_each(|flag| entry.set(flag))?;
        Ok(entry)
    }

    /// Reads an entry of a deny list, where there is nothing to add.
    pub(super) fn parse_deny(text: &str) -> Result<Self, EntryError> {
        match text.split_once('+') {
            Some((_, flag)) => Err(EntryError::Flag(flag.into())),
            None => Self::parse(text),
        }
    }

    fn set(&mut self, flag: &str) -> Result<(), EntryError> {
        let is_address = matches!(self.what, What::Net(_));
        match flag {
            "private" if !is_address => self.private = true,
            "inspect" => self.inspect = true,
            other => return Err(EntryError::Flag(other.into())),
        }
        Ok(())
    }

    /// Whether it is about this port; without one, about some port.
    pub(super) fn covers_some(&self, port: Option<u16>) -> bool {
        port.is_none() || self.covers_all(port)
    }

    /// Whether it is about this port; without one, about every port.
    pub(super) fn covers_all(&self, port: Option<u16>) -> bool {
        self.port.is_none() || self.port == port
    }
}

impl What {
    fn parse(host: &str) -> Result<Self, EntryError> {
        if host == "*" {
            return Ok(Self::Every);
        }
        if let Some(name) = host.strip_prefix("*.") {
            return Ok(Self::Below(HostName::parse(name)?));
        }
        if let Some((address, prefix)) = host.split_once('/') {
            return parse_net(unbracketed(address), prefix).map(Self::Net);
        }
        if let Ok(address) = unbracketed(host).parse::<IpAddr>() {
            return Ok(Self::Net(address.to_canonical().into()));
        }
        Ok(Self::Name(HostName::parse(host)?))
    }
}

fn parse_net(address: &str, prefix: &str) -> Result<IpNet, EntryError> {
    let address: IpAddr = address.parse().map_err(|_| EntryError::Net)?;
    let prefix: u8 = prefix.parse().map_err(|_| EntryError::Net)?;
    let net = IpNet::new(address, prefix).map_err(|_| EntryError::Net)?;
    if net.trunc() != net {
        return Err(EntryError::HostBits(net.trunc()));
    }
    Ok(canonical(net))
}

/// IPv4 in IPv6 is IPv4 everywhere here.
fn canonical(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let mapped = v6
        .addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(96));
    mapped
        .and_then(|(address, prefix)| IpNet::new(address.into(), prefix).ok())
        .unwrap_or(net)
}

/// Takes the port off. An IPv6 address without brackets has none.
fn split_port(text: &str) -> Result<(&str, Option<u16>), EntryError> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Ok((text, None));
    };
    let bare_v6 = host.contains(':') && !host.contains('[');
    let inside_brackets = port.contains(']');
    if bare_v6 || inside_brackets {
        return Ok((text, None));
    }
    match port.parse() {
        // Only digits: `parse` would take a plus sign, too, and zero is no port.
        Ok(number) if number != 0 && port.bytes().all(|b| b.is_ascii_digit()) => {
            Ok((host, Some(number)))
        }
        _ => Err(EntryError::Port),
    }
}

fn unbracketed(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (String, Option<u16>) {
        let entry = Entry::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let what = match entry.what {
            What::Every => "every".into(),
            What::Name(name) => format!("name {name}"),
            What::Below(name) => format!("below {name}"),
            What::Net(net) => format!("net {net}"),
        };
        (what, entry.port)
    }

    #[test]
    fn every_form_is_read() {
        for (text, what, port) in [
            ("example.com", "name example.com", None),
            (" Example.COM.:8443 ", "name example.com", Some(8443)),
            ("*.example.com", "below example.com", None),
            (
                "*.bücher.example:80",
                "below xn--bcher-kva.example",
                Some(80),
            ),
            ("*", "every", None),
            ("*:443", "every", Some(443)),
            ("10.0.0.1", "net 10.0.0.1/32", None),
            ("10.0.0.1:5432", "net 10.0.0.1/32", Some(5432)),
            ("10.0.0.0/8", "net 10.0.0.0/8", None),
            ("10.0.0.0/8:53", "net 10.0.0.0/8", Some(53)),
            ("2001:db8::1", "net 2001:db8::1/128", None),
            ("[2001:db8::1]:443", "net 2001:db8::1/128", Some(443)),
            ("[2001:db8::1]", "net 2001:db8::1/128", None),
            ("2001:db8::/32", "net 2001:db8::/32", None),
            ("[2001:db8::]/32:443", "net 2001:db8::/32", Some(443)),
            ("::ffff:10.0.0.1", "net 10.0.0.1/32", None),
            ("::ffff:10.0.0.0/104", "net 10.0.0.0/8", None),
        ] {
            assert_eq!(parse(text), (what.into(), port), "{text}");
        }
        let entry = Entry::parse("db.example:5432+private+inspect").unwrap();
        assert!(entry.private && entry.inspect && entry.port == Some(5432));
    }

    #[test]
    fn what_is_wrong_is_told() {
        use EntryError::*;
        for (text, error) in [
            ("", Host(HostNameError::Empty)),
            (":443", Host(HostNameError::Empty)),
            ("*.", Host(HostNameError::Empty)),
            ("a.*.example", Host(HostNameError::Character)),
            ("*example.com", Host(HostNameError::Character)),
            ("*.*.example", Host(HostNameError::Character)),
            ("127.1", Host(HostNameError::Numeric)),
            ("0x7f.1", Host(HostNameError::Numeric)),
            ("2130706433", Host(HostNameError::Numeric)),
            ("*.10.0.0.1", Host(HostNameError::Numeric)),
            ("https://example.com", Port),
            ("example.com:0", Port),
            ("example.com:65536", Port),
            ("example.com:", Port),
            ("10.0.0.0/33", Net),
            ("10.0.0.0/", Net),
            ("example.com/24", Net),
            ("10.0.0.1/8", HostBits("10.0.0.0/8".parse().unwrap())),
            ("example.com+secret", Flag("secret".into())),
            ("10.0.0.1+private", Flag("private".into())),
        ] {
            assert_eq!(Entry::parse(text).map(|e| e.text), Err(error), "{text}");
        }
    }

    #[test]
    fn no_text_is_too_odd() {
        bolero::check!()
            .with_test_time(std::time::Duration::from_secs(1))
            .for_each(|bytes| {
                let _ = Entry::parse(&String::from_utf8_lossy(bytes));
            });
    }
}
