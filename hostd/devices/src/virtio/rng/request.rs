//! A request for entropy: a chain of buffers to be filled.

use std::io::{self, Write};

use vm_memory::GuestMemoryMmap;

use crate::virtio::Chain;

/// Bytes given to one request, which may be less than it has room for. Linux asks for at most a
/// few hundred; a guest that offers gigabytes must not keep the event loop drawing them.
const MAX_ENTROPY_BYTES: usize = 64 << 10;

/// Bytes drawn from the host at a time.
const PIECE: usize = 256;

/// Fills the chain with entropy. Returns how many bytes it got.
///
/// # Errors
/// When a buffer is not in guest memory, or the host has no entropy to give.
pub fn fill(memory: &GuestMemoryMmap, chain: Chain<'_>) -> io::Result<u32> {
    let mut writer = chain.writer(memory).map_err(io::Error::other)?;
    let total = writer.available_bytes().min(MAX_ENTROPY_BYTES);
    let mut piece = [0; PIECE];
    while writer.bytes_written() < total {
        let len = PIECE.min(total - writer.bytes_written());
        let piece = &mut piece[..len];
        getrandom::fill(piece).map_err(io::Error::from)?;
        writer.write_all(piece)?;
    }
    Ok(total as u32)
}
