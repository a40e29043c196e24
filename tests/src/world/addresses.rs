//! Who is where.

use std::net::Ipv4Addr;

/// Of all of it.
pub const PREFIX: u8 = 24;
/// The host's end of the veth pair.
pub const HOST: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 1);
/// The name server.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 53);
/// The web server of `api.thaw.example`, and of others.
pub const API: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 10);
/// The web server of `other.thaw.example`.
pub const OTHER: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 11);
/// The web server of everything below `wild.example`.
pub const WILD: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 12);
/// Every address in the namespace.
pub const ALL: [Ipv4Addr; 4] = [NAME_SERVER, API, OTHER, WILD];

/// Web servers with TLS and without, and one where the server speaks first.
pub const HTTPS: u16 = 443;
/// See [`HTTPS`].
pub const HTTP: u16 = 80;
/// See [`HTTPS`].
pub const BANNER: u16 = 25;

/// Names and where they are. The last ones are traps: what they name is nobody's business.
pub const NAMES: &[(&str, &[Ipv4Addr])] = &[
    ("api.thaw.example", &[API]),
    ("git.thaw.example", &[API]),
    ("grpc.thaw.example", &[API]),
    ("packages.thaw.example", &[API]),
    ("other.thaw.example", &[OTHER]),
    ("mail.thaw.example", &[OTHER]),
    ("mixed.thaw.example", &[Ipv4Addr::new(10, 0, 0, 1), API]),
    ("rebind.thaw.example", &[Ipv4Addr::LOCALHOST]),
    ("private.thaw.example", &[Ipv4Addr::new(10, 1, 2, 3)]),
    (
        "metadata.thaw.example",
        &[Ipv4Addr::new(169, 254, 169, 254)],
    ),
    ("host.thaw.example", &[HOST]),
];

/// Everything below it is at [`WILD`].
pub const WILD_NAME: &str = "wild.example";
