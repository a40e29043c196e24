//! The tap: frames in, frames out, and what it may leave to the guest.
#![expect(unsafe_code, reason = "ioctls without a safe wrapper")]

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use thiserror::Error;
use virtio_bindings::virtio_net::{VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4};

use super::config::has;
use super::frame::HEADER_BYTES;

nix::ioctl_read_bad!(get_interface, libc::TUNGETIFF, libc::ifreq);
nix::ioctl_read_bad!(get_header_bytes, libc::TUNGETVNETHDRSZ, libc::c_int);
nix::ioctl_write_int_bad!(set_offload, libc::TUNSETOFFLOAD);

const _: () = assert!(size_of::<libc::ifreq>() == 40);

/// The modes that matter of a tap, and what they have to be: frames with a virtio header and nothing else.
const MODES: libc::c_int = libc::IFF_TUN | libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
const EXPECTED_MODES: libc::c_int = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

/// Why a descriptor cannot be a card's other end.
#[derive(Debug, Error)]
pub enum TapError {
    /// It is no tap, or one that is not attached to an interface.
    #[error("not an attached tap")]
    NotATap(#[source] io::Error),
    /// It is one of another kind.
    #[error("a tap with modes {0:#x}, must be IFF_TAP, IFF_NO_PI and IFF_VNET_HDR")]
    Modes(libc::c_int),
    /// Its frames have another header.
    #[error("a tap with a header of {0} bytes, must be {HEADER_BYTES}")]
    Header(libc::c_int),
    /// It cannot be kept from blocking.
    #[error("tap that blocks")]
    Blocking(#[source] io::Error),
}

/// The host's end of a card.
#[derive(Debug)]
pub struct Tap {
    file: File,
    /// As the tap was told last.
    offload: Option<libc::c_uint>,
    /// It has failed in a way that no waiting mends: its interface was deleted.
    gone: bool,
}

impl Tap {
    /// Takes a tap, whose frames are behind a header of 12 bytes, and keeps it from blocking.
    ///
    /// # Errors
    /// [`TapError`].
    pub fn new(tap: OwnedFd) -> Result<Self, TapError> {
        check(&tap)?;
        Self::unchecked(tap)
    }

    /// A tap, or a pair of datagram sockets in its place: they keep frames apart in the same way.
    pub(crate) fn unchecked(tap: OwnedFd) -> Result<Self, TapError> {
        set_nonblocking(&tap).map_err(TapError::Blocking)?;
        Ok(Self {
            file: tap.into(),
            offload: None,
            gone: false,
        })
    }

    /// Lets frames to the guest be what its driver understands.
    pub fn follow(&mut self, features: u64) {
        let mut offload = 0;
        if has(features, VIRTIO_NET_F_GUEST_CSUM) {
            offload |= libc::TUN_F_CSUM;
            if has(features, VIRTIO_NET_F_GUEST_TSO4) {
                offload |= libc::TUN_F_TSO4;
            }
        }
        if self.offload == Some(offload) {
            return;
        }
        self.offload = Some(offload);
        // SAFETY: the argument is a number, and the descriptor is ours.
        if let Err(error) = unsafe { set_offload(self.file.as_raw_fd(), offload as libc::c_int) } {
            // Frames are then as they were before, and those that the driver does not understand are dropped.
            tracing::debug!(%error, "offloads of a tap");
        }
    }

    /// The next frame with its header, cut to the buffer's size; `None` when there is none now, or never again.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.file.read(buffer) {
            Ok(length) => Some(length),
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) {
                    tracing::warn!(%error, "a tap that gives no frames any more");
                    self.gone = true;
                }
                None
            }
        }
    }

    /// Whether there is nothing to wait for any more.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Sends a frame with its header.
    ///
    /// # Errors
    /// When the kernel does not take it, now or ever.
    pub fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        let sent = self.file.write(frame)?;
        if sent == frame.len() {
            return Ok(());
        }
        Err(ErrorKind::WriteZero.into())
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

fn check(tap: &OwnedFd) -> Result<(), TapError> {
    let not_a_tap = |errno: nix::Error| TapError::NotATap(errno.into());
    // SAFETY: ifreq is plain data, for which zeroes are valid.
    let mut interface: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: a descriptor of another kind knows no such request; a tap fills the structure, which lives as long.
    unsafe { get_interface(tap.as_raw_fd(), &mut interface) }.map_err(not_a_tap)?;
    // SAFETY: the kernel has filled the flags, and zeroes would be flags as well.
    let modes = libc::c_int::from(unsafe { interface.ifr_ifru.ifru_flags }) & MODES;
    if modes != EXPECTED_MODES {
        return Err(TapError::Modes(modes));
    }
    let mut header = 0;
    // SAFETY: as above, for a number.
    unsafe { get_header_bytes(tap.as_raw_fd(), &mut header) }.map_err(not_a_tap)?;
    if usize::try_from(header) != Ok(HEADER_BYTES) {
        return Err(TapError::Header(header));
    }
    Ok(())
}

fn set_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
