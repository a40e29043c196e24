//! The kernel's random pool.
#![expect(unsafe_code, reason = "the pool's ioctls have no safe wrapper")]

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

use super::MachineError;

/// What fits one call, in bytes.
pub(crate) const MAX_ENTROPY_BYTES: usize = 512;

/// `struct rand_pool_info` with its flexible array at our largest size.
#[repr(C)]
struct PoolInfo {
    /// Bits credited.
    entropy_count: libc::c_int,
    /// Bytes of `buf` that count.
    buf_size: libc::c_int,
    buf: [u8; MAX_ENTROPY_BYTES],
}

// The number encodes the size of the header, not of the whole structure.
const RNDADDENTROPY: libc::c_ulong = nix::request_code_write!(b'R', 0x03, 8);
const _: () = assert!(RNDADDENTROPY == 0x4008_5203);
const _: () = assert!(std::mem::offset_of!(PoolInfo, buf) == 8);

nix::ioctl_write_ptr_bad!(add_entropy, RNDADDENTROPY, PoolInfo);
nix::ioctl_none!(reseed_generator, b'R', 0x07);

/// Mixes in at most [`MAX_ENTROPY_BYTES`], credits every bit, and reseeds the generator, so that no byte
/// drawn from now on follows from what the pool was before.
pub(super) fn add(bytes: &[u8]) -> Result<(), MachineError> {
    let mut info = PoolInfo {
        entropy_count: 0,
        buf_size: 0,
        buf: [0; MAX_ENTROPY_BYTES],
    };
    for (to, from) in info.buf.iter_mut().zip(bytes) {
        *to = *from;
        info.buf_size += 1;
        info.entropy_count += 8;
    }
    let random = File::open("/dev/urandom").map_err(MachineError::io("open /dev/urandom"))?;
    // SAFETY: info is laid out as the kernel reads it, and says how much of it is filled.
    unsafe { add_entropy(random.as_raw_fd(), &raw const info) }
        .map_err(MachineError::call("RNDADDENTROPY"))?;
    // SAFETY: takes no argument.
    match unsafe { reseed_generator(random.as_raw_fd()) } {
        // ENODATA: the pool has not been ready yet, so crediting it was its first seeding.
        Ok(_) | Err(Errno::ENODATA) => Ok(()),
        Err(errno) => Err(MachineError::call("RNDRESEEDCRNG")(errno)),
    }
}
