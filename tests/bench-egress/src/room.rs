//! A sandbox's side of the proxy: a namespace with the upstream's address in it, where only the proxy listens.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::process::Command;

use anyhow::{anyhow, ensure};
use egress::gate::Sockets;
use nix::sched::{CloneFlags, setns, unshare};
use tests::world::addresses::{API, HTTPS};

/// A namespace; it lasts as long as somebody has it.
pub struct Room {
    /// Its descriptor.
    pub namespace: File,
    /// What listens in it, as the firewall of a sandbox hands it to its gate: an accepted connection's local address is
    /// where the client connected to.
    pub sockets: Sockets,
}

/// Makes one.
pub fn make() -> tests::Result<Room> {
    // A thread, because a namespace is entered for good.
    let made = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET)?;
        furnish()?;
        ip(&["address", "add", &format!("{API}/32"), "dev", "lo"])?;
        let dns = (Ipv4Addr::LOCALHOST, 0);
        let sockets = Sockets {
            tcp: TcpListener::bind((API, HTTPS))?,
            dns_udp: UdpSocket::bind(dns)?,
            dns_tcp: TcpListener::bind(dns)?,
        };
        sockets.tcp.set_nonblocking(true)?;
        sockets.dns_udp.set_nonblocking(true)?;
        sockets.dns_tcp.set_nonblocking(true)?;
        let namespace = File::open("/proc/thread-self/ns/net")?;
        Ok(Room { namespace, sockets })
    });
    made.join().map_err(|_| anyhow!("no room"))?
}

/// Moves this thread into one.
pub fn enter(namespace: &File) -> tests::Result {
    Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
}

/// Gives this namespace its loopback addresses.
pub fn furnish() -> tests::Result {
    ip(&["link", "set", "lo", "up"])
}

fn ip(words: &[&str]) -> tests::Result {
    let status = Command::new("ip").args(words).status()?;
    ensure!(status.success(), "ip {}: {status}", words.join(" "));
    Ok(())
}
