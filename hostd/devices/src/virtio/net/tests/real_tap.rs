//! The card on a tap of the kernel's, in a network namespace of the test's own.
#![expect(unsafe_code, reason = "taps and interfaces are made by ioctls")]

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, recv,
    socket,
};
use virtio_bindings::virtio_net::{VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4};

use super::{MAC, RECEIVE, TRANSMIT};
use crate::testing::{DATA, Driver, read, write};
use crate::virtio::net::{Net, NetControl, NetLimits, Tap, TapError};

const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const BROADCAST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 3);
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 252);
const UDP: u8 = 17;
const TCP: u8 = 6;
/// Longer than a frame takes through the kernel of a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

nix::ioctl_write_ptr_bad!(set_interface, libc::TUNSETIFF, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_header_bytes, libc::TUNSETVNETHDRSZ, libc::c_int);
nix::ioctl_write_ptr_bad!(set_address, libc::SIOCSIFADDR, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_mask, libc::SIOCSIFNETMASK, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);
nix::ioctl_read_bad!(get_mac, libc::SIOCGIFHWADDR, libc::ifreq);

/// Runs a test in a namespace that ends with it, or says why it cannot.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let ran = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| format!("no namespace: {errno}"))?;
        open().map_err(|error| format!("/dev/net/tun: {error}"))?;
        test();
        Ok::<_, String>(())
    });
    let Err(reason) = ran.join().unwrap() else {
        return;
    };
    let must_run = std::env::var_os("THAW_MUST_RUN").is_some_and(|value| value == "1");
    assert!(!must_run, "this test must run: {reason}");
    let line = format!("skipped {name}: {reason}\n");
    // Past the test runner, which shows nothing of tests that pass.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

fn open() -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
}

fn request() -> libc::ifreq {
    // SAFETY: plain data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let name = request.ifr_name.iter_mut().zip(b"tap0");
    name.for_each(|(to, from)| *to = *from as libc::c_char);
    request
}

fn make_tap(modes: libc::c_int, header: libc::c_int) -> OwnedFd {
    let tap = open().unwrap();
    let mut request = request();
    request.ifr_ifru.ifru_flags = modes as libc::c_short;
    // SAFETY: the structures live until the calls return.
    unsafe {
        set_interface(tap.as_raw_fd(), &request).unwrap();
        if modes & libc::IFF_VNET_HDR != 0 {
            set_header_bytes(tap.as_raw_fd(), &header).unwrap();
        }
    }
    tap.into()
}

const MODES: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// Gives the tap's interface its address and switches it on. Answers its own MAC.
fn bring_up() -> [u8; 6] {
    let control = UdpSocket::bind("127.0.0.1:0");
    // Without an interface that is up even this address may not be there.
    let control = control.unwrap_or_else(|_| UdpSocket::bind("0.0.0.0:0").unwrap());
    let fd = control.as_raw_fd();
    let address = |address: Ipv4Addr| {
        let mut request = request();
        let mut name = [0; 14];
        name[2..6].copy_from_slice(&address.octets().map(|byte| byte as libc::c_char));
        request.ifr_ifru.ifru_addr = libc::sockaddr {
            sa_family: libc::AF_INET as u16,
            sa_data: name,
        };
        request
    };
    let mut up = request();
    up.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    let mut mac = request();
    // SAFETY: the structures live until the calls return, and the kernel fills in an address.
    let mac = unsafe {
        set_address(fd, &address(HOST)).unwrap();
        set_mask(fd, &address(MASK)).unwrap();
        set_flags(fd, &up).unwrap();
        get_mac(fd, &mut mac).unwrap();
        mac.ifr_ifru.ifru_hwaddr.sa_data
    };
    std::array::from_fn(|at| mac[at] as u8)
}

fn card(refused: u64) -> Driver<Net> {
    let tap = Tap::new(make_tap(MODES, 12)).unwrap();
    let control = Arc::new(NetControl::new(false, NetLimits::default()).unwrap());
    let mut driver = Driver::new(Net::new(MAC, tap, control).unwrap());
    driver.refused = refused;
    driver.start();
    for at in 0..8 {
        driver.offer(RECEIVE, &[write(DATA + 0x1_0000 + at * 0x1000, 2000)]);
    }
    driver.notify(RECEIVE);
    driver
}

/// One's complement sum, not yet inverted.
fn sum(pieces: &[&[u8]]) -> u16 {
    let bytes = pieces.concat();
    let words = bytes.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]))
    });
    let total: u32 = words.sum();
    let folded = (total & 0xffff) + (total >> 16);
    (folded & 0xffff) as u16 + (folded >> 16) as u16
}

/// What the checksums of UDP and TCP also cover.
fn pseudo_header(source: Ipv4Addr, target: Ipv4Addr, protocol: u8, length: u16) -> Vec<u8> {
    let numbers = [0, protocol];
    [
        &source.octets()[..],
        &target.octets(),
        &numbers,
        &length.to_be_bytes(),
    ]
    .concat()
}

/// A frame from guest to host with this transport header and data, behind a header for the device.
fn frame(header: [u8; 12], mac: [u8; 6], protocol: u8, transport: &[u8]) -> Vec<u8> {
    let length = 20 + transport.len() as u16;
    let mut ip = vec![0x45, 0];
    ip.extend(length.to_be_bytes());
    ip.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    ip.extend(GUEST.octets());
    ip.extend(HOST.octets());
    let check = !sum(&[&ip]);
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    [&header[..], &mac, &MAC, &[8, 0], &ip, transport].concat()
}

fn send(driver: &mut Driver<Net>, bytes: &[u8]) {
    driver.poke(DATA, bytes);
    driver.send(TRANSMIT, &[read(DATA, bytes.len() as u32)]);
}

/// A UDP datagram whose checksum field holds this.
fn datagram(port: u16, check: u16, data: &[u8]) -> Vec<u8> {
    let length = 8 + data.len() as u16;
    let fields = [5000, port, length, check].map(u16::to_be_bytes);
    [fields.as_flattened(), data].concat()
}

#[test]
fn checksums_and_segments_of_the_guest_are_left_to_the_tap() {
    in_namespace(|| {
        let mut driver = card(0);
        let mac = bring_up();
        let host = UdpSocket::bind((HOST, 0)).unwrap();
        host.set_read_timeout(Some(PATIENCE)).unwrap();
        let port = host.local_addr().unwrap().port();
        // The field begins as the sum of the pseudo header; whoever completes it needs no more.
        let begun = sum(&[&pseudo_header(GUEST, HOST, UDP, 13)]);
        let plain = frame([0; 12], mac, UDP, &datagram(port, begun, b"wrong"));
        send(&mut driver, &plain);
        let partial = [1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0];
        let partial = frame(partial, mac, UDP, &datagram(port, begun, b"right"));
        send(&mut driver, &partial);
        let mut heard = [0; 64];
        let length = host.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"right");

        let listener = packets();
        let mut transport = vec![0; 20];
        transport[12] = 5 << 4;
        transport.extend([7; 6000]);
        let segments = [1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0];
        send(&mut driver, &frame(segments, mac, TCP, &transport));
        let started = Instant::now();
        let mut heard = vec![0; 70_000];
        while started.elapsed() < PATIENCE {
            match recv(listener.as_raw_fd(), &mut heard, MsgFlags::MSG_DONTWAIT) {
                Ok(length) if length == 14 + 20 + 20 + 6000 => return,
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        panic!("6000 bytes are not taken as one frame");
    });
}

/// A socket that hears all frames of the tap.
fn packets() -> OwnedFd {
    let all = SockProtocol::EthAll;
    let fd = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        all,
    )
    .unwrap();
    // SAFETY: plain data, for which zeroes are valid.
    let mut name: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    name.sll_family = libc::AF_PACKET as u16;
    name.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    name.sll_ifindex = nix::net::if_::if_nametoindex("tap0").unwrap() as i32;
    let size = size_of::<libc::sockaddr_ll>() as u32;
    // SAFETY: an address of this family and size.
    let name = unsafe { LinkAddr::from_raw((&raw const name).cast(), Some(size)) }.unwrap();
    bind(fd.as_raw_fd(), &name).unwrap();
    fd
}

/// The first UDP datagram that the guest gets: the header's flags and the bytes from the IP header on.
fn first_datagram(driver: &mut Driver<Net>) -> (u8, Vec<u8>) {
    let started = Instant::now();
    let mut place = DATA + 0x1_0000;
    while started.elapsed() < PATIENCE {
        driver.run();
        for (_, length) in driver.used(RECEIVE) {
            let bytes = driver.peek(place, length as usize);
            place += 0x1000;
            // The kernel has things to say of its own, in IPv6.
            if bytes[24..26] == [8, 0] && bytes[35] == UDP {
                return (bytes[0], bytes[26..].to_vec());
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the guest hears nothing");
}

fn broadcast(driver: &mut Driver<Net>) -> (u8, Vec<u8>) {
    bring_up();
    let host = UdpSocket::bind((HOST, 0)).unwrap();
    host.set_broadcast(true).unwrap();
    host.send_to(b"hello", (BROADCAST, 9)).unwrap();
    first_datagram(driver)
}

#[test]
fn the_tap_leaves_checksums_to_a_driver_that_knows_how() {
    in_namespace(|| {
        let (flags, _) = broadcast(&mut card(0));
        assert_eq!(flags & 1, 1, "the checksum is the guest's to make");
    });
}

#[test]
fn the_tap_does_all_itself_for_a_driver_that_does_not() {
    in_namespace(|| {
        let without = 1 << VIRTIO_NET_F_GUEST_CSUM | 1 << VIRTIO_NET_F_GUEST_TSO4;
        let (flags, packet) = broadcast(&mut card(without));
        assert_eq!(flags, 0);
        let covered = pseudo_header(HOST, BROADCAST, UDP, 13);
        assert_eq!(sum(&[&covered, &packet[20..33]]), 0xffff);
    });
}

#[test]
fn other_descriptors_and_other_taps_are_refused() {
    let null = File::open("/dev/null").unwrap();
    assert!(matches!(
        Tap::new(null.into()),
        Err(TapError::NotATap(error)) if error.kind() != ErrorKind::WouldBlock
    ));
    in_namespace(|| {
        let unattached = open().unwrap();
        let refused = Tap::new(unattached.into());
        assert!(matches!(refused, Err(TapError::NotATap(_))));
        let layer3 = make_tap(MODES & !libc::IFF_TAP | libc::IFF_TUN, 12);
        assert!(matches!(Tap::new(layer3), Err(TapError::Modes(_))));
        let bare = make_tap(libc::IFF_TAP | libc::IFF_NO_PI, 0);
        assert!(matches!(Tap::new(bare), Err(TapError::Modes(_))));
        let short = make_tap(MODES, 10);
        assert!(matches!(Tap::new(short), Err(TapError::Header(10))));
        assert!(Tap::new(make_tap(MODES, 12)).is_ok());
    });
}

/// Deleting the interface ends what the tap has to say, and nothing turns in circles over it.
#[test]
fn a_tap_whose_interface_is_deleted_is_left_alone() {
    in_namespace(|| {
        let mut driver = card(0);
        bring_up();
        driver.run();
        delete_interface();
        driver.run();
        send(&mut driver, &[0; 72]);
        assert_eq!(driver.used(TRANSMIT).len(), 1);
    });
}

/// `RTM_DELLINK`: a header, `struct ifinfomsg`, and no attributes.
fn delete_interface() {
    let route = SockProtocol::NetlinkRoute;
    let fd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        route,
    )
    .unwrap();
    let index = nix::net::if_::if_nametoindex("tap0").unwrap();
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
    let message = [
        &32u32.to_ne_bytes()[..],
        &libc::RTM_DELLINK.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &[0; 12],
        &index.to_ne_bytes(),
        &[0; 8],
    ]
    .concat();
    nix::sys::socket::send(fd.as_raw_fd(), &message, MsgFlags::empty()).unwrap();
    let mut answer = [0; 64];
    recv(fd.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
    assert_eq!(answer[16..20], [0; 4], "not deleted");
}
