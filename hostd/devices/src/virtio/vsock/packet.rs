//! Packets on the wire: the header, and the chain's buffers as slices of guest memory.
//!
//! Where one descriptor ends and the next begins means nothing: Linux has put header and data
//! into two buffers, into one, and data into many, depending on its version.

use thiserror::Error;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{Bytes, GuestMemoryBackend, GuestMemoryMmap, VolatileMemoryError, VolatileSlice};

/// Bytes of a packet header.
pub const HEADER_BYTES: usize = 44;

/// Data bytes in one packet, either way. Linux sends at most this.
pub const MAX_DATA: u32 = 64 << 10;

/// Buffers in one chain. Linux uses a header and at most 18 pieces of data.
const MAX_BUFFERS: usize = 64;

/// The only socket type that there is here: streams.
pub const TYPE_STREAM: u16 = 1;

/// The host's CID.
pub const HOST_CID: u64 = 2;

/// The sender of a shutdown will not receive any more.
pub const SHUTDOWN_RECEIVE: u32 = 1;
/// The sender of a shutdown will not send any more.
pub const SHUTDOWN_SEND: u32 = 2;
/// Neither.
pub const SHUTDOWN_BOTH: u32 = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;

/// What a packet is for.
pub mod op {
    pub const REQUEST: u16 = 1;
    pub const RESPONSE: u16 = 2;
    pub const RESET: u16 = 3;
    pub const SHUTDOWN: u16 = 4;
    pub const DATA: u16 = 5;
    pub const CREDIT_UPDATE: u16 = 6;
    pub const CREDIT_REQUEST: u16 = 7;
}

/// A chain that is not a packet.
#[derive(Debug, Error)]
pub enum PacketError {
    /// Fewer bytes than a header has, or than the header says there are.
    #[error("chain is too short")]
    Short,
    /// More buffers or data than a packet may have.
    #[error("chain is too long")]
    Long,
    /// Buffers that are not in guest memory.
    #[error("buffers")]
    Memory(#[from] vm_memory::GuestMemoryError),
    /// Buffers that are.
    #[error("slices")]
    Slice(#[from] VolatileMemoryError),
}

/// A packet header, copied out of guest memory once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    pub src_cid: u64,
    pub dst_cid: u64,
    pub src_port: u32,
    pub dst_port: u32,
    pub len: u32,
    pub kind: u16,
    pub op: u16,
    pub flags: u32,
    pub buf_alloc: u32,
    pub fwd_cnt: u32,
}

impl Header {
    /// The header in these bytes.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        let mut rest = bytes.as_slice();
        Self {
            src_cid: u64::from_le_bytes(take(&mut rest)),
            dst_cid: u64::from_le_bytes(take(&mut rest)),
            src_port: u32::from_le_bytes(take(&mut rest)),
            dst_port: u32::from_le_bytes(take(&mut rest)),
            len: u32::from_le_bytes(take(&mut rest)),
            kind: u16::from_le_bytes(take(&mut rest)),
            op: u16::from_le_bytes(take(&mut rest)),
            flags: u32::from_le_bytes(take(&mut rest)),
            buf_alloc: u32::from_le_bytes(take(&mut rest)),
            fwd_cnt: u32::from_le_bytes(take(&mut rest)),
        }
    }

    /// The bytes of this header.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let fields: [&[u8]; 10] = [
            &self.src_cid.to_le_bytes(),
            &self.dst_cid.to_le_bytes(),
            &self.src_port.to_le_bytes(),
            &self.dst_port.to_le_bytes(),
            &self.len.to_le_bytes(),
            &self.kind.to_le_bytes(),
            &self.op.to_le_bytes(),
            &self.flags.to_le_bytes(),
            &self.buf_alloc.to_le_bytes(),
            &self.fwd_cnt.to_le_bytes(),
        ];
        let mut bytes = [0; HEADER_BYTES];
        let all = fields.into_iter().flatten();
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        bytes
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk() {
        Some((field, after)) => {
            *rest = after;
            *field
        }
        None => [0; N],
    }
}

/// The buffers of a chain, in order.
#[derive(Default)]
pub struct Buffers<'m>(Vec<VolatileSlice<'m>>);

impl<'m> Buffers<'m> {
    /// Finds descriptors in guest memory.
    ///
    /// # Errors
    /// When one is not there, or there are too many.
    pub fn find(
        memory: &'m GuestMemoryMmap,
        descriptors: impl Iterator<Item = Descriptor>,
    ) -> Result<Self, PacketError> {
        let mut slices = Vec::with_capacity(2);
        for descriptor in descriptors {
            for slice in memory.get_slices(descriptor.addr(), descriptor.len() as usize) {
                if slices.len() == MAX_BUFFERS {
                    return Err(PacketError::Long);
                }
                slices.push(slice?);
            }
        }
        Ok(Self(slices))
    }

    /// Splits off the header's bytes; what is left is room for data.
    ///
    /// # Errors
    /// [`PacketError::Short`] when there are not as many.
    pub fn split_header(&mut self) -> Result<Self, PacketError> {
        let mut header = Vec::with_capacity(1);
        let mut missing = HEADER_BYTES;
        while missing > 0 {
            let first = self.0.first_mut().ok_or(PacketError::Short)?;
            if first.len() > missing {
                header.push(first.subslice(0, missing)?);
                *first = first.offset(missing)?;
                break;
            }
            missing -= first.len();
            header.push(self.0.remove(0));
        }
        Ok(Self(header))
    }

    /// Keeps the first `len` bytes.
    ///
    /// # Errors
    /// [`PacketError::Short`] when there are not as many.
    pub fn truncate(&mut self, len: usize) -> Result<(), PacketError> {
        let mut left = len;
        let mut kept = 0;
        for slice in &mut self.0 {
            if left == 0 {
                break;
            }
            if slice.len() > left {
                *slice = slice.subslice(0, left)?;
            }
            left -= slice.len();
            kept += 1;
        }
        self.0.truncate(kept);
        if left == 0 {
            Ok(())
        } else {
            Err(PacketError::Short)
        }
    }

    /// Copies the header out of its bytes.
    ///
    /// # Errors
    /// When there are not as many.
    pub fn read_header(&self) -> Result<Header, PacketError> {
        let mut bytes = [0; HEADER_BYTES];
        let mut rest = bytes.as_mut_slice();
        for slice in &self.0 {
            let len = slice.len().min(rest.len());
            let (part, after) = rest.split_at_mut(len);
            slice.read_slice(part, 0)?;
            rest = after;
        }
        if rest.is_empty() {
            Ok(Header::decode(&bytes))
        } else {
            Err(PacketError::Short)
        }
    }

    /// Copies a header into its bytes.
    ///
    /// # Errors
    /// When there are not as many.
    pub fn write_header(&self, header: &Header) -> Result<(), PacketError> {
        self.write_front(&header.encode())
    }

    /// Copies bytes into the first so many.
    ///
    /// # Errors
    /// When there are not as many.
    pub fn write_front(&self, bytes: &[u8]) -> Result<(), PacketError> {
        let mut rest = bytes;
        for slice in &self.0 {
            let (part, after) = rest.split_at(slice.len().min(rest.len()));
            slice.write_slice(part, 0)?;
            rest = after;
        }
        if rest.is_empty() {
            Ok(())
        } else {
            Err(PacketError::Short)
        }
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.0.iter().map(VolatileSlice::len).sum()
    }

    /// The pieces, in order.
    pub fn slices(&self) -> &[VolatileSlice<'m>] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::GuestAddress;

    use super::*;

    fn header() -> Header {
        Header {
            src_cid: 2,
            dst_cid: 3,
            src_port: 0x4000_0001,
            dst_port: 1024,
            len: 5,
            kind: TYPE_STREAM,
            op: op::DATA,
            flags: 0x1234_5678,
            buf_alloc: 1 << 18,
            fwd_cnt: u32::MAX,
        }
    }

    #[test]
    fn a_header_survives_its_bytes() {
        assert_eq!(Header::decode(&header().encode()), header());
        let bytes = header().encode();
        assert_eq!(bytes[28..32], [1, 0, 5, 0]);
    }

    #[test]
    fn buffers_may_be_cut_anywhere() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        for cut in 0..=HEADER_BYTES as u32 + 5 {
            let total = HEADER_BYTES as u32 + 5;
            let pieces = [(0, cut), (0x800, total - cut)];
            let chain = pieces.map(|(at, len)| Descriptor::new(at, len, 0, 0));
            let mut data = Buffers::find(&memory, chain.into_iter()).unwrap();
            let front = data.split_header().unwrap();
            front.write_header(&header()).unwrap();
            assert_eq!(front.read_header().unwrap(), header());
            assert_eq!(data.len(), 5);
            data.truncate(3).unwrap();
            assert_eq!(data.len(), 3);
            assert!(data.truncate(4).is_err());
        }
    }

    #[test]
    fn what_is_too_short_or_elsewhere_is_refused() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x1000)]).unwrap();
        let find = |at, len| Buffers::find(&memory, [Descriptor::new(at, len, 0, 0)].into_iter());
        assert!(find(0x1000, 1).is_err());
        assert!(find(0xfff, 2).is_err());
        assert!(find(0, 43).unwrap().split_header().is_err());
        assert!(find(0, 43).unwrap().read_header().is_err());
        let many = (0..65).map(|_| Descriptor::new(0, 1, 0, 0));
        assert!(Buffers::find(&memory, many).is_err());
    }
}
