//! The network side of a sandbox on the host: a namespace of its own with one tap, no route out, and the
//! sockets through which everything that the guest sends reaches the egress proxy, or is dropped.
//!
//! ```text
//!  guest 192.0.2.2 ── tap0 192.0.2.1 ─┬─ TCP, any address and port ── TPROXY ──▶ Sockets::tcp
//!                                     ├─ DNS, any address ── UDP ──────────────▶ Sockets::dns_udp
//!                                     │                   └─ TCP ──────────────▶ Sockets::dns_tcp
//!                                     └─ everything else ──────────────────────▶ dropped and counted
//! ```
//!
//! A [`Network`] is nothing but descriptors: no name, no process, no file. When the last of them is closed, by whoever
//! has it and however that ends, the kernel takes the namespace away with all that is in it. A [`Pool`] has some ready.

mod address;
mod dropped;
mod error;
mod links;
mod namespace;
mod network;
mod pool;
mod rules;
mod settings;
mod sockets;
mod tap;
#[cfg(test)]
mod tests;

pub use address::{GATEWAY, GATEWAY_MAC, GUEST, GUEST_MAC, PREFIX};
pub use dropped::Dropped;
pub use error::{Error, Reason, Step};
pub use namespace::Namespace;
pub use network::{Network, probe};
pub use pool::Pool;
pub use sockets::Sockets;
pub use tap::VNET_HEADER;

/// Kernel modules that a network needs; most hosts load them by themselves when they are asked for.
pub const MODULES: &[&str] = &[
    "tun",
    "nf_tables",
    "nft_tproxy",
    "nft_ct",
    "nft_nat",
    "nft_limit",
    "nft_objref",
];
