//! The tap: the cable between a guest's network card and its namespace.
#![expect(
    unsafe_code,
    reason = "a tap is made by ioctls, of which no safe wrapper is in use here"
)]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::address::TAP;

/// The length in bytes of the virtio header before each frame: `struct virtio_net_hdr_v1`, which has
/// `num_buffers` at its end.
pub const VNET_HEADER: usize = 12;

nix::ioctl_write_ptr_bad!(tunsetiff, libc::TUNSETIFF, libc::ifreq);
nix::ioctl_write_ptr_bad!(tunsetvnethdrsz, libc::TUNSETVNETHDRSZ, libc::c_int);

const _: () = assert!(size_of::<libc::ifreq>() == 40 && TAP.len() < libc::IFNAMSIZ);

/// Makes a tap in the calling thread's namespace. It goes away with its last descriptor.
///
/// Frames carry a virtio header of [`VNET_HEADER`] bytes. Reads and writes do not block. Which offloads
/// there are is for the device to say, once the guest has.
pub(crate) fn open() -> io::Result<OwnedFd> {
    let tap = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    // SAFETY: ifreq is plain data, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(TAP.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags =
        (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: the descriptor is a tun device's, and the request lives until the call returns.
    unsafe { tunsetiff(tap.as_raw_fd(), &request) }?;
    let header = VNET_HEADER as libc::c_int;
    // SAFETY: as above.
    unsafe { tunsetvnethdrsz(tap.as_raw_fd(), &header) }?;
    Ok(tap.into())
}
