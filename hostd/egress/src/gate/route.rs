//! Where a connection goes, once its first bytes are known.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::{Opening, Session, Shared};
use crate::audit::Protocol;
use crate::policy::{Host, HostName, Refusal, Target};
use crate::sniff::{ClientHello, Spoken};

/// Where a connection goes.
pub(super) enum Route {
    /// As it is, to this host.
    Pass { target: Target, protocol: Protocol },
    /// To [`crate::intercept`].
    Open(Session),
}

/// A connection that the policy refuses.
pub(super) struct Refused {
    /// The host, as far as it is known.
    pub(super) target: Target,
    pub(super) protocol: Protocol,
    pub(super) why: Refusal,
}

/// Decides. The guest's address counts only where the client names no host.
pub(super) fn route(
    shared: &Arc<Shared>,
    destination: SocketAddr,
    spoken: Spoken,
) -> Result<Route, Refused> {
    match spoken {
        Spoken::Tls(hello) => route_tls(shared, destination, hello),
        Spoken::Http1 => Ok(open(shared, destination, Opening::Http1)),
        Spoken::Http2 => Ok(open(shared, destination, Opening::Http2)),
        Spoken::Unknown => Ok(Route::Pass {
            target: known_as(shared, destination, Protocol::Tcp)?,
            protocol: Protocol::Tcp,
        }),
    }
}

fn route_tls(
    shared: &Arc<Shared>,
    destination: SocketAddr,
    hello: ClientHello,
) -> Result<Route, Refused> {
    let protocol = Protocol::Tls;
    let target = match &hello.name {
        Some(name) => {
            let target = Target::name(name.clone(), destination.port());
            match shared.check(&target) {
                Ok(()) => target,
                Err(why) => {
                    return Err(Refused {
                        target,
                        protocol,
                        why,
                    });
                }
            }
        }
        None => known_as(shared, destination, protocol)?,
    };
    // An encrypted hello could name another host, out of our sight.
    let opens = hello.ech || shared.opens(&target);
    Ok(match opens {
        true => open(shared, destination, Opening::Tls { target, hello }),
        false => Route::Pass { target, protocol },
    })
}

fn open(shared: &Arc<Shared>, destination: SocketAddr, opening: Opening) -> Route {
    // It stands in only where a request names no host, and is checked here.
    let fallback = known_as(shared, destination, Protocol::Http).ok();
    Route::Open(Session {
        shared: shared.clone(),
        destination,
        opening,
        fallback,
    })
}

/// The host that an address stands for: the latest allowed one of the names that the sandbox was
/// given the address for, or the bare address, if the policy names it.
pub(super) fn known_as(
    shared: &Shared,
    destination: SocketAddr,
    protocol: Protocol,
) -> Result<Target, Refused> {
    let mut refused = None;
    for name in names(shared, destination) {
        let target = Target::name(name, destination.port());
        match shared.check(&target) {
            Ok(()) => return Ok(target),
            Err(why) => drop(refused.get_or_insert(Refused {
                target,
                protocol,
                why,
            })),
        }
    }
    let target = Target::ip(destination.ip(), destination.port());
    match shared.check(&target) {
        Ok(()) => Ok(target),
        Err(why) => Err(refused.unwrap_or(Refused {
            target,
            protocol,
            why,
        })),
    }
}

/// Whether the sandbox was given the address for this host: then it is the one to dial.
pub(super) fn was_given(shared: &Shared, destination: SocketAddr, target: &Target) -> bool {
    match &target.host {
        Host::Name(name) => names(shared, destination).contains(name),
        Host::Ip(_) => false,
    }
}

fn names(shared: &Shared, destination: SocketAddr) -> Vec<HostName> {
    match destination.ip().to_canonical() {
        IpAddr::V4(address) => shared.names.of(address, Instant::now()),
        IpAddr::V6(_) => Vec::new(),
    }
}
