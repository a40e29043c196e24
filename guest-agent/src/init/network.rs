//! The network interfaces: loopback, which nobody else brings up, and the one that leads to the host's proxy.
//!
//! Every guest has the same address on a network of its own, so that a restored machine is right as it is.
#![expect(unsafe_code, reason = "interface ioctls have no safe wrapper")]

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::failure::BootError;

/// What the first network card is called.
const CARD: &str = "eth0";
/// This machine, of TEST-NET-1: addresses that nobody else has.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 252);
/// The proxy, which is also the resolver.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

nix::ioctl_read_bad!(get_flags, libc::SIOCGIFFLAGS, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_flags, libc::SIOCSIFFLAGS, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_address, libc::SIOCSIFADDR, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_netmask, libc::SIOCSIFNETMASK, libc::ifreq);
nix::ioctl_write_ptr_bad!(add_route, libc::SIOCADDRT, libc::rtentry);

/// Brings the interfaces up. A machine without a network card has loopback alone.
pub(super) fn bring_up() -> Result<(), BootError> {
    let socket = Interfaces::open().map_err(BootError::call("a socket for interfaces"))?;
    // The kernel gives it 127.0.0.1 and ::1.
    socket.up("lo").map_err(BootError::call("bringing up lo"))?;
    if !Path::new("/sys/class/net").join(CARD).exists() {
        return Ok(());
    }
    socket
        .configure()
        .map_err(BootError::call("bringing up eth0"))?;
    // The sandbox can change it as it likes; one who has no right to is no reason not to boot.
    let _ = name_the_resolver(Path::new("/etc/resolv.conf"));
    Ok(())
}

/// In the place of whatever the image has there, which may be a link to a file of a resolver that does not run here.
fn name_the_resolver(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::write(path, format!("nameserver {GATEWAY}\n"))
}

/// The socket through which interfaces are set up.
struct Interfaces(OwnedFd);

impl Interfaces {
    fn open() -> Result<Self, Errno> {
        socket(
            AddressFamily::Inet,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )
        .map(Self)
    }

    fn configure(&self) -> Result<(), Errno> {
        let socket = self.0.as_raw_fd();
        let mut request = named(CARD);
        request.ifr_ifru.ifru_addr = address(ADDRESS);
        // SAFETY: the request is a valid, named ifreq with an address, and outlives the call.
        unsafe { set_address(socket, &raw const request) }?;
        request.ifr_ifru.ifru_netmask = address(NETMASK);
        // SAFETY: as above.
        unsafe { set_netmask(socket, &raw const request) }?;
        self.up(CARD)?;
        self.default_route()
    }

    fn up(&self, name: &str) -> Result<(), Errno> {
        let mut request = named(name);
        // SAFETY: the request is a valid, named ifreq that outlives both calls, and SIOCGIFFLAGS has
        // filled the union's flags when they are read.
        unsafe {
            get_flags(self.0.as_raw_fd(), &raw mut request)?;
            request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
            set_flags(self.0.as_raw_fd(), &raw const request)?;
        }
        Ok(())
    }

    fn default_route(&self) -> Result<(), Errno> {
        // SAFETY: rtentry is plain data for which all zeroes is a valid value.
        let mut route: libc::rtentry = unsafe { std::mem::zeroed() };
        route.rt_dst = address(Ipv4Addr::UNSPECIFIED);
        route.rt_genmask = address(Ipv4Addr::UNSPECIFIED);
        route.rt_gateway = address(GATEWAY);
        route.rt_flags = libc::RTF_UP | libc::RTF_GATEWAY;
        // SAFETY: the route is a valid rtentry without a device name, and outlives the call.
        unsafe { add_route(self.0.as_raw_fd(), &raw const route) }?;
        Ok(())
    }
}

fn named(name: &str) -> libc::ifreq {
    // SAFETY: ifreq is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

fn address(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: sockaddr is plain data for which all zeroes is a valid value.
    let mut socket: libc::sockaddr = unsafe { std::mem::zeroed() };
    socket.sa_family = libc::AF_INET as libc::sa_family_t;
    // sockaddr_in: two bytes of port, then the address.
    for (to, from) in socket.sa_data[2..].iter_mut().zip(address.octets()) {
        *to = from as libc::c_char;
    }
    socket
}
