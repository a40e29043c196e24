//! Networks with guests in them, natively.

mod guest;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Dropped, Network, probe};
use guest::{Guest, STRANGER};

/// What takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(10);
/// In this time what would arrive has arrived.
const A_MOMENT: u16 = 300;

/// Whether there can be networks here; says why not.
fn can_run() -> bool {
    match probe() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("SKIP: {error}: {}", error.source);
            false
        }
    }
}

fn is_readable(socket: &impl AsFd, millis: u16) -> bool {
    let mut wait = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut wait, PollTimeout::from(millis)).unwrap() == 1
}

fn accept(listener: &TcpListener) -> TcpStream {
    assert!(is_readable(listener, 10_000), "nobody came");
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn connect(guest: &Guest, to: &str) -> io::Result<TcpStream> {
    let to: SocketAddr = to.parse().unwrap();
    guest.does(|| TcpStream::connect_timeout(&to, PATIENCE))
}

fn dropped_until(network: &crate::Namespace, enough: impl Fn(&Dropped) -> bool) -> Dropped {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let dropped = network.dropped().unwrap();
        if enough(&dropped) || Instant::now() > deadline {
            return dropped;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_connection_arrives_with_the_address_that_was_meant() {
    if !can_run() {
        return;
    }
    let network = Network::make().unwrap();
    let guest = Guest::plug_in(&network.tap);
    for (to, listener) in [
        ("93.184.216.34:443", &network.sockets.tcp),
        ("10.1.2.3:8080", &network.sockets.tcp),
        ("169.254.169.254:80", &network.sockets.tcp),
        ("192.0.2.1:22", &network.sockets.tcp),
        ("8.8.8.8:53", &network.sockets.dns_tcp),
    ] {
        let mut guest_end = connect(&guest, to).unwrap();
        let mut host_end = accept(listener);
        assert_eq!(host_end.local_addr().unwrap().to_string(), to);
        assert_eq!(host_end.peer_addr().unwrap().ip(), crate::GUEST);
        guest_end.write_all(&[7; 100_000]).unwrap();
        let mut bytes = vec![0; 100_000];
        host_end.read_exact(&mut bytes).unwrap();
        host_end.write_all(b"answer").unwrap();
        let mut answer = [0; 6];
        guest_end.read_exact(&mut answer).unwrap();
        assert_eq!((&answer, bytes), (b"answer", vec![7; 100_000]));
    }
    let dropped = network.namespace.dropped().unwrap();
    assert_eq!(
        (dropped.spoofed, dropped.fragments, dropped.others),
        (0, 0, 0)
    );
}

#[test]
fn questions_to_any_server_are_answered_from_it() {
    if !can_run() {
        return;
    }
    let network = Network::make().unwrap();
    let guest = Guest::plug_in(&network.tap);
    for server in ["8.8.8.8:53", "192.0.2.1:53", "203.0.113.77:53"] {
        let socket = guest.does(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send(b"question").unwrap();
        assert!(is_readable(&network.sockets.dns_udp, 10_000), "{server}");
        let mut bytes = [0; 512];
        let (length, from) = network.sockets.dns_udp.recv_from(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"question");
        network.sockets.dns_udp.send_to(b"answer", from).unwrap();
        // A connected socket hears its server alone.
        let length = socket.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], b"answer", "{server}");
    }
}

#[test]
fn everything_else_is_dropped_and_counted() {
    if !can_run() {
        return;
    }
    let network = Network::make().unwrap();
    let guest = Guest::plug_in(&network.tap);
    let udp = |from: &str, to: &str, bytes: usize| {
        let (from, to) = (from.to_owned(), to.to_owned());
        guest
            .does(move || UdpSocket::bind(from)?.send_to(&vec![0; bytes], to))
            .unwrap();
    };
    // QUIC, NTP, another port of the gateway, another protocol.
    udp("0.0.0.0:0", "93.184.216.34:443", 1200);
    udp("0.0.0.0:0", "93.184.216.34:123", 48);
    udp("0.0.0.0:0", "192.0.2.1:5353", 48);
    let raw = |protocol: i32, to: &str| {
        let to: SocketAddr = format!("{to}:0").parse().unwrap();
        guest
            .does(move || {
                let kind = Protocol::from(protocol);
                let socket = Socket::new(Domain::IPV4, Type::RAW, Some(kind))?;
                socket.send_to(&[8, 0, 0xf7, 0xff, 0, 0, 0, 0], &to.into())
            })
            .unwrap();
    };
    raw(libc::IPPROTO_ICMP, "192.0.2.1");
    raw(libc::IPPROTO_ICMP, "93.184.216.34");
    raw(libc::IPPROTO_GRE, "93.184.216.34");
    raw(132, "93.184.216.34");
    let dropped = dropped_until(&network.namespace, |dropped| dropped.others >= 7);
    assert_eq!(dropped.others, 7, "{dropped:?}");

    udp(&format!("{STRANGER}:0"), "8.8.8.8:53", 10);
    let dropped = dropped_until(&network.namespace, |dropped| dropped.spoofed >= 1);
    assert_eq!(dropped.spoofed, 1, "{dropped:?}");

    udp("0.0.0.0:0", "8.8.8.8:53", 4000);
    let dropped = dropped_until(&network.namespace, |dropped| dropped.fragments >= 3);
    assert_eq!(dropped.fragments, 3, "{dropped:?}");

    // It is off where the tap is: the kernel counts nothing of it.
    let mut tap = File::from(network.tap.try_clone().unwrap());
    tap.write_all(&ipv6_frame()).unwrap();
    assert!(
        !is_readable(&network.sockets.dns_udp, A_MOMENT),
        "something came"
    );
    assert!(
        !is_readable(&network.sockets.tcp, A_MOMENT),
        "somebody came"
    );
}

/// A datagram to a server of the host's, as a device hands it to the tap.
fn ipv6_frame() -> Vec<u8> {
    let mut frame = vec![0; crate::VNET_HEADER];
    frame.extend(crate::GATEWAY_MAC);
    frame.extend(crate::GUEST_MAC);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 17, 64]);
    let (from, to) = ("2001:db8::2", "2001:db8::1");
    for address in [from, to] {
        frame.extend(address.parse::<Ipv6Addr>().unwrap().octets());
    }
    frame.extend([0x30, 0, 0, 53, 0, 8, 0, 0]);
    frame
}

#[test]
fn a_flood_of_questions_is_cut() {
    if !can_run() {
        return;
    }
    let network = Network::make().unwrap();
    let guest = Guest::plug_in(&network.tap);
    let to: SocketAddrV4 = "8.8.8.8:53".parse().unwrap();
    guest
        .does(|| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            for _ in 0..5_000 {
                // The guest's own queue may be full.
                let _ = socket.send_to(b"question", to);
            }
            Ok(())
        })
        .unwrap();
    let dropped = dropped_until(&network.namespace, |dropped| dropped.floods > 0);
    assert!(dropped.floods > 0, "{dropped:?}");
}

#[test]
fn networks_with_the_same_addresses_do_not_meet() {
    if !can_run() {
        return;
    }
    let (one, two) = (Network::make().unwrap(), Network::make().unwrap());
    let guests = [Guest::plug_in(&one.tap), Guest::plug_in(&two.tap)];
    let _ends: Vec<_> = guests
        .iter()
        .map(|guest| connect(guest, "93.184.216.34:443").unwrap())
        .collect();
    for network in [&one, &two] {
        accept(&network.sockets.tcp);
        assert!(!is_readable(&network.sockets.tcp, A_MOMENT));
    }
}

#[test]
fn nothing_of_the_host_is_reached() {
    if !can_run() {
        return;
    }
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = service.local_addr().unwrap().port();
    let network = Network::make().unwrap();
    let guest = Guest::plug_in(&network.tap);
    let _end = connect(&guest, &format!("192.0.2.1:{port}")).unwrap();
    // The proxy has it, whatever is at that port of the host.
    accept(&network.sockets.tcp);
    service.set_nonblocking(true).unwrap();
    assert!(service.accept().is_err());
    let routes = network
        .namespace
        .enter(|| Ok(std::fs::read_to_string("/proc/thread-self/net/route").unwrap()))
        .unwrap();
    let interfaces: Vec<_> = routes
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(interfaces, ["tap0"], "one route, to the guest: {routes}");
}
