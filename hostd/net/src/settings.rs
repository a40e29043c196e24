//! The namespace's settings under `/proc/sys/net`. A new namespace takes over many of the host's own, so
//! that each setting that matters here is written, whatever its usual value.

use std::fs;
use std::io;

use crate::error::{During, Error, Step};

/// A file under `/proc/sys/net`, what is written to it, and whether it may be missing.
struct Setting(&'static str, &'static str, Missing);

enum Missing {
    Never,
    /// The kernel's IPv6 is a module or off: then there is nothing to turn off.
    WithoutIpv6,
}
use Missing::{Never, WithoutIpv6};

/// Before there is an interface.
const FIRST: &[Setting] = &[
    // The guest speaks IPv4 only, and no interface shall have a link-local address of the other kind.
    Setting("ipv6/conf/all/disable_ipv6", "1", WithoutIpv6),
    Setting("ipv6/conf/default/disable_ipv6", "1", WithoutIpv6),
    Setting("ipv4/ip_forward", "0", Never),
    // TPROXY's packets come in for addresses that are not this host's, and the way back to the guest is
    // the only route: a check of the reverse path could but fail, above all with the mark in its key.
    Setting("ipv4/conf/all/rp_filter", "0", Never),
    Setting("ipv4/conf/default/rp_filter", "0", Never),
    Setting("ipv4/conf/all/src_valid_mark", "0", Never),
    Setting("ipv4/conf/default/src_valid_mark", "0", Never),
    Setting("ipv4/conf/all/route_localnet", "0", Never),
    Setting("ipv4/conf/default/route_localnet", "0", Never),
    Setting("ipv4/conf/all/accept_source_route", "0", Never),
    Setting("ipv4/conf/all/accept_redirects", "0", Never),
    Setting("ipv4/conf/default/accept_redirects", "0", Never),
    // The gateway's address is told to who asks for it, and no other.
    Setting("ipv4/conf/all/arp_ignore", "1", Never),
    Setting("ipv4/conf/all/arp_accept", "0", Never),
    Setting("ipv4/conf/default/arp_accept", "0", Never),
    Setting("ipv4/conf/all/proxy_arp", "0", Never),
    Setting("ipv4/conf/default/proxy_arp", "0", Never),
    Setting("ipv4/icmp_echo_ignore_all", "1", Never),
    // A connection's mark must not go over to its answers: they would be routed back to this host.
    Setting("ipv4/tcp_fwmark_accept", "0", Never),
    // A flood of SYNs or of short connections costs this much memory, and no more.
    Setting("ipv4/tcp_syncookies", "1", Never),
    Setting("ipv4/tcp_max_syn_backlog", "1024", Never),
    Setting("ipv4/tcp_max_tw_buckets", "4096", Never),
    // The way to the guest has no length, so that a window of 1 MiB fills it, and 10,000 connections whose
    // ends do not read cannot take all of the host's TCP memory with windows of 6 MiB.
    Setting("ipv4/tcp_rmem", "4096 131072 1048576", Never),
    Setting("ipv4/tcp_wmem", "4096 65536 1048576", Never),
];

/// After the rules are loaded, which bring the tracking of connections. Only DNS over UDP is tracked.
/// A question is forgotten after this many seconds without an answer: longer than the resolver tries, and
/// together with the rules' limit of new questions it bounds the table.
const LAST: &[Setting] = &[
    Setting("netfilter/nf_conntrack_udp_timeout", "15", Never),
    Setting("netfilter/nf_conntrack_udp_timeout_stream", "15", Never),
];

/// Sets what must be set before there is an interface.
pub(crate) fn first() -> Result<(), Error> {
    FIRST.iter().try_for_each(Setting::write)
}

/// Sets what can be set only when the rules are loaded.
pub(crate) fn last() -> Result<(), Error> {
    LAST.iter().try_for_each(Setting::write)
}

impl Setting {
    fn write(&self) -> Result<(), Error> {
        let Self(name, value, missing) = self;
        match fs::write(format!("/proc/sys/net/{name}"), value) {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && matches!(missing, WithoutIpv6) =>
            {
                Ok(())
            }
            result => result.during(Step::Setting(name)),
        }
    }
}
