//! What addresses are: which ones no public name has any business with.

use std::collections::HashSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What an address is that is not simply somewhere on the Internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressClass {
    /// One of this host's own, loopback aside.
    Own,
    /// A cloud's metadata service, which hands out credentials.
    Metadata,
    /// The host itself.
    Loopback,
    /// RFC 1918, and unique local addresses of IPv6.
    Private,
    /// RFC 6598: behind a carrier's NAT; overlay networks use it, too.
    Shared,
    /// One link only.
    LinkLocal,
    /// Many hosts.
    Multicast,
    /// Every host of a link.
    Broadcast,
    /// No host.
    Unspecified,
    /// For documentation, benchmarks, transition mechanisms and the future. The guest's own
    /// network is one of these.
    Reserved,
}

impl AddressClass {
    /// Whether an entry `name+private` is enough. Metadata, link-local and what is no single host
    /// have to be named by address.
    pub fn opens_to_private_names(self) -> bool {
        matches!(
            self,
            Self::Own | Self::Loopback | Self::Private | Self::Shared
        )
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "an address of the host itself",
            Self::Metadata => "a metadata service",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::Shared => "a shared (carrier NAT) address",
            Self::LinkLocal => "a link-local address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "the broadcast address",
            Self::Unspecified => "an unspecified address",
            Self::Reserved => "a reserved address",
        })
    }
}

/// The host's own addresses. A clone is cheap.
#[derive(Debug, Clone, Default)]
pub struct OwnAddresses(Arc<HashSet<IpAddr>>);

impl FromIterator<IpAddr> for OwnAddresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        Self(Arc::new(
            addresses.into_iter().map(|a| a.to_canonical()).collect(),
        ))
    }
}

impl OwnAddresses {
    /// What is special about `address`, and the range that an entry has to lie in to name it;
    /// nothing, if it is an ordinary address of the Internet.
    pub(super) fn classify(&self, address: IpAddr) -> Option<(AddressClass, IpNet)> {
        let exactly = IpNet::from(address);
        if METADATA.contains(&address) {
            return Some((AddressClass::Metadata, exactly));
        }
        let range = match address {
            IpAddr::V4(address) => SPECIAL_V4
                .iter()
                .find(|(net, _)| net.contains(&address))
                .map(|(net, class)| (*class, IpNet::V4(*net))),
            IpAddr::V6(address) => special_v6(address),
        };
        let loopback = matches!(range, Some((AddressClass::Loopback, _)));
        if self.0.contains(&address) && !loopback {
            // Who names a private network does not mean the host that is on it.
            return Some((AddressClass::Own, exactly));
        }
        range
    }
}

fn special_v6(address: Ipv6Addr) -> Option<(AddressClass, IpNet)> {
    SPECIAL_V6
        .iter()
        .find(|(net, _)| net.contains(&address))
        .map(|(net, class)| (*class, IpNet::V6(*net)))
        // IANA has given out 2000::/3 only.
        .or_else(|| {
            (!GLOBAL_V6.contains(&address))
                .then_some((AddressClass::Reserved, IpNet::from(IpAddr::V6(address))))
        })
}

const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// Where clouds serve credentials to whoever asks, wherever else these addresses lie: AWS, GCP,
/// Azure, DigitalOcean, OpenStack; ECS tasks; Azure's wire server (a public address); Alibaba;
/// Oracle; AWS and GCP by IPv6.
const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// IANA's registry of special-purpose IPv4 addresses; the first match counts.
const SPECIAL_V4: &[(Ipv4Net, AddressClass)] = &[
    (v4([255, 255, 255, 255], 32), AddressClass::Broadcast),
    (v4([0, 0, 0, 0], 8), AddressClass::Unspecified),
    (v4([10, 0, 0, 0], 8), AddressClass::Private),
    (v4([100, 64, 0, 0], 10), AddressClass::Shared),
    (v4([127, 0, 0, 0], 8), AddressClass::Loopback),
    (v4([169, 254, 0, 0], 16), AddressClass::LinkLocal),
    (v4([172, 16, 0, 0], 12), AddressClass::Private),
    (v4([192, 0, 0, 0], 24), AddressClass::Reserved),
    (v4([192, 0, 2, 0], 24), AddressClass::Reserved),
    (v4([192, 88, 99, 0], 24), AddressClass::Reserved),
    (v4([192, 168, 0, 0], 16), AddressClass::Private),
    (v4([198, 18, 0, 0], 15), AddressClass::Reserved),
    (v4([198, 51, 100, 0], 24), AddressClass::Reserved),
    (v4([203, 0, 113, 0], 24), AddressClass::Reserved),
    (v4([224, 0, 0, 0], 4), AddressClass::Multicast),
    (v4([240, 0, 0, 0], 4), AddressClass::Reserved),
];

/// IANA's registry of special-purpose IPv6 addresses; the first match counts. Those that carry an
/// IPv4 address (NAT64, 6to4, Teredo) are refused whatever it is: they would be a second spelling.
const SPECIAL_V6: &[(Ipv6Net, AddressClass)] = &[
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), AddressClass::Unspecified),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), AddressClass::Loopback),
    (
        v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 32),
        AddressClass::Reserved,
    ),
    (
        v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
        AddressClass::Reserved,
    ),
    (
        v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
        AddressClass::Reserved,
    ),
    (
        v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16),
        AddressClass::Reserved,
    ),
    (
        v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
        AddressClass::Reserved,
    ),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), AddressClass::Private),
    (
        v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
        AddressClass::LinkLocal,
    ),
    (
        v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
        AddressClass::Multicast,
    ),
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(address: &str, own: &[&str]) -> Option<AddressClass> {
        let own: OwnAddresses = own.iter().map(|a| a.parse::<IpAddr>().unwrap()).collect();
        let address: IpAddr = address.parse().unwrap();
        own.classify(address.to_canonical()).map(|(class, _)| class)
    }

    #[test]
    fn every_special_range_has_its_class() {
        use AddressClass::*;
        for (address, expected) in [
            ("1.1.1.1", None),
            ("9.255.255.255", None),
            ("11.0.0.0", None),
            ("100.63.255.255", None),
            ("100.128.0.0", None),
            ("126.255.255.255", None),
            ("128.0.0.0", None),
            ("172.15.255.255", None),
            ("172.32.0.0", None),
            ("192.167.255.255", None),
            ("192.169.0.0", None),
            ("223.255.255.255", None),
            ("2606:4700::1111", None),
            ("0.0.0.0", Some(Unspecified)),
            ("0.1.2.3", Some(Unspecified)),
            ("10.0.0.1", Some(Private)),
            ("172.16.0.1", Some(Private)),
            ("172.31.255.255", Some(Private)),
            ("192.168.1.1", Some(Private)),
            ("100.64.0.1", Some(Shared)),
            ("100.127.255.255", Some(Shared)),
            ("127.0.0.1", Some(Loopback)),
            ("127.255.255.254", Some(Loopback)),
            ("169.254.0.1", Some(LinkLocal)),
            ("169.254.169.254", Some(Metadata)),
            ("169.254.170.2", Some(Metadata)),
            ("168.63.129.16", Some(Metadata)),
            ("100.100.100.200", Some(Metadata)),
            ("192.0.0.192", Some(Metadata)),
            ("192.0.0.8", Some(Reserved)),
            ("192.0.2.1", Some(Reserved)),
            ("192.0.2.2", Some(Reserved)),
            ("198.18.0.1", Some(Reserved)),
            ("198.51.100.1", Some(Reserved)),
            ("203.0.113.1", Some(Reserved)),
            ("192.88.99.1", Some(Reserved)),
            ("224.0.0.1", Some(Multicast)),
            ("239.255.255.255", Some(Multicast)),
            ("240.0.0.1", Some(Reserved)),
            ("255.255.255.255", Some(Broadcast)),
            ("::", Some(Unspecified)),
            ("::1", Some(Loopback)),
            ("::ffff:127.0.0.1", Some(Loopback)),
            ("::ffff:169.254.169.254", Some(Metadata)),
            ("::ffff:8.8.8.8", None),
            ("::127.0.0.1", Some(Reserved)),
            ("64:ff9b::7f00:1", Some(Reserved)),
            ("64:ff9b:1::7f00:1", Some(Reserved)),
            ("2002:7f00:1::", Some(Reserved)),
            ("2001::1", Some(Reserved)),
            ("2001:db8::1", Some(Reserved)),
            ("fd00::1", Some(Private)),
            ("fd00:ec2::254", Some(Metadata)),
            ("fe80::1", Some(LinkLocal)),
            ("fec0::1", Some(Reserved)),
            ("ff02::1", Some(Multicast)),
            ("4000::1", Some(Reserved)),
        ] {
            assert_eq!(class(address, &[]), expected, "{address}");
        }
    }

    #[test]
    fn the_hosts_own_addresses_are_known_whatever_they_are() {
        let own = ["127.0.0.1", "10.0.0.5", "8.8.4.4", "::ffff:9.9.9.9"];
        assert_eq!(class("10.0.0.5", &own), Some(AddressClass::Own));
        assert_eq!(class("10.0.0.6", &own), Some(AddressClass::Private));
        assert_eq!(class("8.8.4.4", &own), Some(AddressClass::Own));
        assert_eq!(class("9.9.9.9", &own), Some(AddressClass::Own));
        assert_eq!(class("127.0.0.1", &own), Some(AddressClass::Loopback));
    }
}
