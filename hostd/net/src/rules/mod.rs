//! What becomes of packets in a namespace, as nftables rules. In the words of `nft`, with `tap0` for the tap:
//!
//! ```text
//! table inet thaw {
//!   chain checks  { type filter hook prerouting priority -450
//!     iif != tap0 accept
//!     meta nfproto != ipv4                drop
//!     ip frag-off & 0x3fff != 0           counter "fragments" drop
//!     ip saddr != 192.0.2.2               counter "spoofed" drop
//!     meta l4proto tcp                    notrack accept
//!     meta l4proto != udp                 counter "others" drop
//!     udp dport != 53                     counter "others" drop
//!     limit rate over 500/second          counter "floods" drop }
//!   chain proxy   { type filter hook prerouting priority -150
//!     iif tap0 meta l4proto tcp tcp dport 53 tproxy ip to 192.0.2.1:53 meta mark set 1 accept
//!     iif tap0 meta l4proto tcp              tproxy ip to 127.0.0.1:1  meta mark set 1 accept }
//!   chain names   { type nat hook prerouting priority -100
//!     iif tap0 meta l4proto udp udp dport 53 dnat ip to 192.0.2.1:53 }
//!   chain local   { type filter hook input priority 0; policy drop
//!     meta mark 1 accept
//!     iif tap0 meta l4proto udp udp dport 53 accept }
//!   chain through { type filter hook forward priority 0; policy drop }
//!   chain answers { type filter hook output priority 0; policy drop
//!     meta l4proto tcp accept
//!     meta l4proto udp udp sport 53 accept }
//! }
//! ```
//!
//! IPv6 is off where the tap is, so that the rule against it has nothing to do as long as that is so. Fragments are dropped before the kernel puts them together (priority -400), which costs memory. Only DNS by UDP is
//! tracked, so that an answer comes from the address that was asked.

mod encode;

use std::ffi::CStr;

use netlink_socket2::{NetlinkSocket, ReplyError};

use crate::address::{DNS, DNS_PORT, GUEST, PROXY};
use crate::links::MARK;

pub(crate) use encode::counters;
use encode::{Batch, Chain, Term};

/// Questions that a guest may ask in a second, and as many at once: each costs an entry of the kernel's table of
/// connections for some seconds.
const QUESTIONS_EACH_SECOND: u32 = 500;

/// `NF_INET_*`.
const PREROUTING: u32 = 0;
const INPUT: u32 = 1;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;

const IPV4: u8 = libc::NFPROTO_IPV4 as u8;
const TCP: u8 = libc::IPPROTO_TCP as u8;
const UDP: u8 = libc::IPPROTO_UDP as u8;

/// Counters of what is dropped.
pub(crate) const FRAGMENTS: &CStr = c"fragments";
pub(crate) const SPOOFED: &CStr = c"spoofed";
pub(crate) const FLOODS: &CStr = c"floods";
pub(crate) const OTHERS: &CStr = c"others";
pub(crate) const COUNTERS: [&CStr; 4] = [FRAGMENTS, SPOOFED, FLOODS, OTHERS];

const fn chain(name: &'static CStr, hook: u32, priority: i32, accepts: bool) -> Chain {
    Chain {
        name,
        kind: c"filter",
        hook,
        priority,
        accepts,
    }
}

const CHECKS: Chain = chain(c"checks", PREROUTING, -450, true);
const TO_PROXY: Chain = chain(c"proxy", PREROUTING, -150, true);
const NAMES: Chain = Chain {
    kind: c"nat",
    ..chain(c"names", PREROUTING, -100, true)
};
const LOCAL: Chain = chain(c"local", INPUT, 0, false);
const THROUGH: Chain = chain(c"through", FORWARD, 0, false);
const ANSWERS: Chain = chain(c"answers", OUTPUT, 0, false);

/// Loads the rules into the calling thread's namespace, all at once; `tap` is the tap's index.
pub(crate) fn load(netlink: &mut NetlinkSocket, tap: u32) -> Result<(), ReplyError> {
    use Term::*;
    let dns = DNS_PORT.to_be_bytes();
    let to_dns = [FromTap(tap), Protocol(UDP), DestinationPort(dns)];
    let proxied = |tests: &[Term], to| [tests, &[Proxy(to), SetMark(MARK), Accept]].concat();
    let tcp = [FromTap(tap), Protocol(TCP)];
    let tcp_dns = [FromTap(tap), Protocol(TCP), DestinationPort(dns)];
    let rules: Vec<(&Chain, Vec<Term>)> = vec![
        (&CHECKS, vec![NotFromTap(tap), Accept]),
        (&CHECKS, vec![NotFamily(IPV4), Drop]),
        (&CHECKS, vec![IsFragment, Count(FRAGMENTS), Drop]),
        (&CHECKS, vec![NotSource(GUEST), Count(SPOOFED), Drop]),
        (&CHECKS, vec![Protocol(TCP), DoNotTrack, Accept]),
        (&CHECKS, vec![NotProtocol(UDP), Count(OTHERS), Drop]),
        (&CHECKS, vec![NotDestinationPort(dns), Count(OTHERS), Drop]),
        (
            &CHECKS,
            vec![MoreThan(QUESTIONS_EACH_SECOND), Count(FLOODS), Drop],
        ),
        (&TO_PROXY, proxied(&tcp_dns, DNS)),
        (&TO_PROXY, proxied(&tcp, PROXY)),
        (&NAMES, [&to_dns[..], &[Redirect(DNS)]].concat()),
        (&LOCAL, vec![HasMark(MARK), Accept]),
        (&LOCAL, [&to_dns[..], &[Accept]].concat()),
        (&ANSWERS, vec![Protocol(TCP), Accept]),
        (&ANSWERS, vec![Protocol(UDP), SourcePort(dns), Accept]),
    ];
    let mut batch = Batch::begin(netlink);
    batch.table();
    for chain in [CHECKS, TO_PROXY, NAMES, LOCAL, THROUGH, ANSWERS] {
        batch.chain(&chain);
    }
    COUNTERS.iter().for_each(|name| batch.counter(name));
    for (chain, terms) in &rules {
        batch.rule(chain, terms);
    }
    batch.commit(netlink)
}
