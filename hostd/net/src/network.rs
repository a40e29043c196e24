//! One sandbox's network.

use std::io;
use std::os::fd::OwnedFd;

use netlink_socket2::NetlinkSocket;

use crate::address::TAP;
use crate::error::{During, Error, Step};
use crate::namespace::Namespace;
use crate::sockets::Sockets;
use crate::{links, rules, settings, tap};

/// A namespace, its tap and its sockets: descriptors, each of which may go where it is needed. When all of
/// them are closed, the network is gone.
#[derive(Debug)]
pub struct Network {
    /// The namespace, which tells what was dropped in it.
    pub namespace: Namespace,
    /// The tap, for the device: `IFF_TAP`, without packet information, frames after a virtio header of
    /// [`VNET_HEADER`](crate::VNET_HEADER) bytes, not blocking, offloads not yet set. While no
    /// descriptor of it is open, the namespace has no interface.
    pub tap: OwnedFd,
    /// The sockets, for the proxy.
    pub sockets: Sockets,
}

impl Network {
    /// Makes a network. This takes milliseconds: a [`Pool`](crate::Pool) has some ready.
    ///
    /// # Errors
    /// Which step failed, and what to do about it.
    pub fn make() -> Result<Self, Error> {
        Namespace::make(|namespace| {
            settings::first()?;
            let tap = tap::open().during(Step::Tap)?;
            let index = nix::net::if_::if_nametoindex(TAP)
                .map_err(io::Error::from)
                .during(Step::Tap)?;
            let mut netlink = NetlinkSocket::new();
            // The rules are there before the first packet can be.
            rules::load(&mut netlink, index).during(Step::Rules)?;
            settings::last()?;
            links::set_up(&mut netlink, index)?;
            let sockets = Sockets::open().during(Step::Sockets)?;
            Ok(Self {
                namespace,
                tap,
                sockets,
            })
        })
    }
}

/// Whether networks can be made here: makes one, and lets go of it.
///
/// # Errors
/// Which step failed, and what to do about it.
pub fn probe() -> Result<(), Error> {
    Network::make().map(drop)
}
