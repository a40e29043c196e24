//! Interfaces, addresses and routes of a namespace, by rtnetlink.

use netlink_bindings::traits::NetlinkRequest;
use netlink_bindings::{rt_addr, rt_link, rt_neigh, rt_route, rt_rule};
use netlink_socket2::{NetlinkSocket, ReplyError};

use crate::address::{GATEWAY, GATEWAY_MAC, GUEST, GUEST_MAC, PREFIX};
use crate::error::{During, Error, Step};

/// The mark of packets that TPROXY took, which the policy route knows them by.
pub(crate) const MARK: u32 = 1;

/// The loopback interface is the first of each namespace.
const LOOPBACK: u32 = 1;

/// The table with the one route that says of every address that it is this host's.
const TABLE: u8 = 100;

/// How many packets wait for a guest that does not read: with the largest segments, 64 KiB each, that is
/// 32 MiB of the host's memory at the most.
const QUEUE: u32 = 512;

/// An Ethernet frame's usual payload in bytes. A larger one would gain nothing: segments are offloaded.
const MTU: u32 = 1500;

/// Sets up the loopback interface and the tap with index `tap`.
pub(crate) fn set_up(netlink: &mut NetlinkSocket, tap: u32) -> Result<(), Error> {
    acknowledged(netlink, &up(LOOPBACK)).during(Step::Link)?;
    acknowledged(netlink, &tap_up(tap)).during(Step::Link)?;
    acknowledged(netlink, &gateway(tap)).during(Step::Address)?;
    acknowledged(netlink, &guest(tap)).during(Step::Neighbour)?;
    acknowledged(netlink, &everything_is_local()).during(Step::Route)?;
    acknowledged(netlink, &marked_by_table()).during(Step::Route)
}

fn acknowledged(
    netlink: &mut NetlinkSocket,
    request: &impl NetlinkRequest,
) -> Result<(), ReplyError> {
    netlink.request(request)?.recv_ack()
}

fn up(index: u32) -> rt_link::OpSetlinkDo<'static> {
    rt_link::Request::new().op_setlink_do(&rt_link::Ifinfomsg {
        ifi_index: index as i32,
        ifi_flags: libc::IFF_UP as u32,
        ifi_change: libc::IFF_UP as u32,
        ..Default::default()
    })
}

fn tap_up(index: u32) -> rt_link::OpSetlinkDo<'static> {
    let mut request = up(index);
    request
        .encode()
        .push_address(&GATEWAY_MAC)
        .push_mtu(MTU)
        .push_txqlen(QUEUE);
    request
}

fn gateway(tap: u32) -> rt_addr::OpNewaddrDo<'static> {
    let mut request = rt_addr::Request::new()
        .set_create()
        .op_newaddr_do(&rt_addr::Ifaddrmsg {
            ifa_family: libc::AF_INET as u8,
            ifa_prefixlen: PREFIX,
            ifa_index: tap,
            ..Default::default()
        });
    request.encode().push_local(GATEWAY.into());
    request
}

/// The guest's Ethernet address never changes for the gateway, and is never asked for.
fn guest(tap: u32) -> rt_neigh::OpNewneighDo<'static> {
    let mut request = rt_neigh::Request::new()
        .set_create()
        .op_newneigh_do(&rt_neigh::Ndmsg {
            ndm_family: libc::AF_INET as u8,
            ndm_ifindex: tap as i32,
            ndm_state: libc::NUD_PERMANENT,
            ..Default::default()
        });
    request
        .encode()
        .push_dst(GUEST.into())
        .push_lladdr(&GUEST_MAC);
    request
}

fn everything_is_local() -> rt_route::OpNewrouteDo<'static> {
    let mut request = rt_route::Request::new()
        .set_create()
        .op_newroute_do(&rt_route::Rtmsg {
            rtm_family: libc::AF_INET as u8,
            rtm_table: TABLE,
            rtm_protocol: libc::RTPROT_STATIC,
            rtm_scope: libc::RT_SCOPE_HOST,
            rtm_type: libc::RTN_LOCAL,
            ..Default::default()
        });
    request.encode().push_oif(LOOPBACK);
    request
}

fn marked_by_table() -> rt_rule::OpNewruleDo<'static> {
    let mut request = rt_rule::Request::new()
        .set_create()
        .op_newrule_do(&rt_rule::FibRuleHdr {
            family: libc::AF_INET as u8,
            table: TABLE,
            action: rt_rule::FrAct::ToTbl as u8,
            ..Default::default()
        });
    request.encode().push_fwmark(MARK);
    request
}
