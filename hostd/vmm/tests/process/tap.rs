//! Taps in a network namespace of the test's own, and who hears and speaks at their other end.
#![expect(unsafe_code, reason = "taps and interfaces are made by ioctls")]

use std::fs::{File, OpenOptions};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, bind, recv, send, socket,
};

use super::harness::{PATIENCE, skip};

/// The type of the frames that are looked for: one for experiments.
const FRAME_TYPE: u16 = 0x88b5;

nix::ioctl_write_ptr_bad!(set_interface, libc::TUNSETIFF, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_header_bytes, libc::TUNSETVNETHDRSZ, libc::c_int);
nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);

/// Runs a test in a namespace that ends with it, or says why it cannot.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let tried = unshare(CloneFlags::CLONE_NEWNET).map_err(std::io::Error::from);
        match tried.and_then(|()| open()) {
            Ok(_) => test(),
            Err(error) => skip(&format!("no namespace with a tap: {error}")),
        }
    });
    if let Err(panic) = thread.unwrap().join() {
        std::panic::resume_unwind(panic);
    }
}

fn open() -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
}

/// A tap that is switched on, and a socket on its interface.
pub struct Tap {
    tap: OwnedFd,
    socket: OwnedFd,
}

impl Tap {
    /// Makes one with this name in the namespace of the thread.
    pub fn new(name: &str) -> Self {
        let tap = open().unwrap();
        let mut request = request(name);
        request.ifr_ifru.ifru_flags =
            (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
        // SAFETY: the structures live until the calls return.
        unsafe {
            set_interface(tap.as_raw_fd(), &request).unwrap();
            set_header_bytes(tap.as_raw_fd(), &12).unwrap();
        }
        switch_on(name);
        Self {
            tap: tap.into(),
            socket: packets(name),
        }
    }

    /// The end that a card takes.
    pub fn end(&self) -> OwnedFd {
        self.tap.as_fd().try_clone_to_owned().unwrap()
    }

    /// Says something to the guest.
    pub fn say(&self) {
        let mut frame = [0; 60];
        frame[..6].fill(0xff);
        frame[12..14].copy_from_slice(&FRAME_TYPE.to_be_bytes());
        // What a full tap has no room for is lost.
        let _ = send(self.socket.as_raw_fd(), &frame, MsgFlags::MSG_DONTWAIT);
    }

    /// Whether the guest has said something.
    pub fn hears(&self) -> bool {
        let mut frame = [0; 2048];
        match recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => length == 60,
            Err(_) => false,
        }
    }

    /// Waits until the guest says something.
    pub fn wait(&self) {
        let started = Instant::now();
        while !self.hears() {
            assert!(started.elapsed() < PATIENCE, "the guest says nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: plain data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let places = request.ifr_name.iter_mut().zip(name.bytes());
    places.for_each(|(to, from)| *to = from as libc::c_char);
    request
}

fn switch_on(name: &str) {
    let control = UdpSocket::bind("0.0.0.0:0").unwrap();
    let mut up = request(name);
    up.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the structure lives until the call returns.
    unsafe { set_flags(control.as_raw_fd(), &up) }.unwrap();
}

/// A socket on the interface that hears and says only frames of the one type.
fn packets(interface: &str) -> OwnedFd {
    let (family, kind) = (AddressFamily::Packet, SockType::Raw);
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    // SAFETY: plain data, for which zeroes are valid.
    let mut name: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    name.sll_family = libc::AF_PACKET as u16;
    name.sll_protocol = FRAME_TYPE.to_be();
    name.sll_ifindex = nix::net::if_::if_nametoindex(interface).unwrap() as i32;
    let size = size_of::<libc::sockaddr_ll>() as u32;
    // SAFETY: an address of this family and size.
    let name = unsafe { LinkAddr::from_raw((&raw const name).cast(), Some(size)) }.unwrap();
    bind(fd.as_raw_fd(), &name).unwrap();
    fd
}
