//! The addresses inside every sandbox's network. They are the same in all of them, so that a restored or
//! forked guest needs no new configuration: which sandbox it is, is told by its namespace alone.

use std::net::{Ipv4Addr, SocketAddrV4};

/// The guest. TEST-NET-1 is routed nowhere, so that it collides with no address that a guest wants to reach.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// The host's end of the tap, which the guest has as its gateway and its name server.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The length of the prefix that guest and gateway share: a network of these two.
pub const PREFIX: u8 = 30;

/// The guest's Ethernet address.
pub const GUEST_MAC: [u8; 6] = [0x02, 0x74, 0x68, 0x61, 0x77, 0x01];

/// The tap's Ethernet address. Fixed, because a restored guest still has it in its ARP cache, and would
/// talk to nobody until that entry had expired.
pub const GATEWAY_MAC: [u8; 6] = [0x02, 0x74, 0x68, 0x61, 0x77, 0x00];

/// The tap's name within its namespace.
pub const TAP: &str = "tap0";

/// The port of DNS.
pub const DNS_PORT: u16 = 53;

/// Where the listener waits for what TPROXY hands to it. The guest cannot address it: packets to 127/8
/// that come from a tap are dropped.
pub(crate) const PROXY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);

/// Where both DNS sockets wait.
pub(crate) const DNS: SocketAddrV4 = SocketAddrV4::new(GATEWAY, DNS_PORT);
