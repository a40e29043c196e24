//! A guest of the kernel's own making: a namespace with a tap, and two threads that carry frames between it and the
//! network's tap, as a machine's device would.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use netlink_bindings::{rt_addr, rt_link, rt_route};
use netlink_socket2::NetlinkSocket;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::address::{GATEWAY, GUEST, GUEST_MAC, PREFIX, TAP};
use crate::error::{During, Error, Step};
use crate::namespace::Namespace;
use crate::tap;

/// Another address of the guest's, which it must not use.
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);

pub struct Guest {
    namespace: Namespace,
    over: Arc<AtomicBool>,
    pumps: Vec<JoinHandle<()>>,
}

impl Guest {
    /// Plugs a guest into the network's tap.
    pub fn plug_in(network: &OwnedFd) -> Self {
        let (namespace, own) = Namespace::make(|namespace| {
            let own = tap::open().during(Step::Tap)?;
            set_up()?;
            Ok((namespace, own))
        })
        .unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let file = |fd: &OwnedFd| File::from(fd.try_clone().unwrap());
        let pump = |from: File, to: File| {
            let over = over.clone();
            thread::spawn(move || carry(from, to, &over))
        };
        let pumps = vec![
            pump(file(network), file(&own)),
            pump(file(&own), file(network)),
        ];
        Self {
            namespace,
            over,
            pumps,
        }
    }

    /// Does something where the guest is.
    pub fn does<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let mut result = None;
        self.namespace
            .enter(|| {
                result = Some(work());
                Ok(())
            })
            .unwrap();
        result.unwrap()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        for pump in self.pumps.drain(..) {
            pump.join().unwrap();
        }
    }
}

fn carry(mut from: File, mut to: File, over: &AtomicBool) {
    let mut frame = vec![0; 70_000];
    while !over.load(Ordering::Acquire) {
        match from.read(&mut frame) {
            Ok(length) => drop(to.write(&frame[..length])),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let mut wait = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut wait, PollTimeout::from(20_u8));
            }
            Err(_) => return,
        }
    }
}

fn set_up() -> Result<(), Error> {
    let index = nix::net::if_::if_nametoindex(TAP).unwrap();
    let mut netlink = NetlinkSocket::new();
    let mut link = rt_link::Request::new().op_setlink_do(&rt_link::Ifinfomsg {
        ifi_index: index as i32,
        ifi_flags: libc::IFF_UP as u32,
        ifi_change: libc::IFF_UP as u32,
        ..Default::default()
    });
    link.encode().push_address(&GUEST_MAC);
    netlink
        .request(&link)
        .and_then(|mut reply| reply.recv_ack().map_err(io::Error::from))
        .during(Step::Link)?;
    for address in [GUEST, STRANGER] {
        let mut request = rt_addr::Request::new()
            .set_create()
            .op_newaddr_do(&rt_addr::Ifaddrmsg {
                ifa_family: libc::AF_INET as u8,
                ifa_prefixlen: PREFIX,
                ifa_index: index,
                ..Default::default()
            });
        request.encode().push_local(address.into());
        netlink
            .request(&request)
            .and_then(|mut reply| reply.recv_ack().map_err(io::Error::from))
            .during(Step::Address)?;
    }
    let mut route = rt_route::Request::new()
        .set_create()
        .op_newroute_do(&rt_route::Rtmsg {
            rtm_family: libc::AF_INET as u8,
            rtm_table: libc::RT_TABLE_MAIN,
            rtm_protocol: libc::RTPROT_STATIC,
            rtm_scope: libc::RT_SCOPE_UNIVERSE,
            rtm_type: libc::RTN_UNICAST,
            ..Default::default()
        });
    route
        .encode()
        .push_gateway(GATEWAY.into())
        .push_oif(index)
        .push_prefsrc(GUEST.into());
    netlink
        .request(&route)
        .and_then(|mut reply| reply.recv_ack().map_err(io::Error::from))
        .during(Step::Route)
}
