//! A frame and the header before it, `struct virtio_net_hdr_v1`:
//!
//! ```text
//!   flags u8 | gso_type u8 | hdr_len u16 | gso_size u16 | csum_start u16 | csum_offset u16 | num_buffers u16
//! ```

use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_GSO_NONE, VIRTIO_NET_HDR_GSO_TCPV4,
};

use super::config::has;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 12;
/// Where in it the number of buffers is.
pub const NUM_BUFFERS: usize = 10;
/// Bytes of an Ethernet header, without which there is no frame.
const MIN_FRAME_BYTES: usize = 14;
/// The largest IP packet behind an Ethernet header: what offloaded segmentation makes.
const MAX_FRAME_BYTES: usize = 65_535 + MIN_FRAME_BYTES;
/// The most that is taken of one chain, or read from the tap.
pub const MAX_BYTES: usize = HEADER_BYTES + MAX_FRAME_BYTES;

/// Checks a frame of the guest that begins with its header, and makes the header one that the tap may see: only what
/// the driver has negotiated is in it.
///
/// Returns whether it is one.
pub fn admit(bytes: &mut [u8], features: u64) -> bool {
    let Some((header, frame)) = bytes.split_first_chunk_mut::<HEADER_BYTES>() else {
        return false;
    };
    if !(MIN_FRAME_BYTES..=MAX_FRAME_BYTES).contains(&frame.len()) {
        return false;
    }
    let [flags, gso_type, h0, h1, g0, g1, s0, s1, o0, o1, _, _] = *header;
    let number = |low, high| usize::from(u16::from_le_bytes([low, high]));
    let (header_bytes, segment) = (number(h0, h1), number(g0, g1));
    let (start, offset) = (number(s0, s1), number(o0, o1));

    let sums = u32::from(flags) & VIRTIO_NET_HDR_F_NEEDS_CSUM != 0;
    let segmented = u32::from(gso_type) != VIRTIO_NET_HDR_GSO_NONE;
    if sums && (!has(features, VIRTIO_NET_F_CSUM) || start + offset + 2 > frame.len()) {
        return false;
    }
    let is_tcp4 = u32::from(gso_type) == VIRTIO_NET_HDR_GSO_TCPV4;
    let may_segment = has(features, VIRTIO_NET_F_HOST_TSO4) && sums && is_tcp4;
    if segmented && (!may_segment || segment == 0 || header_bytes > frame.len()) {
        return false;
    }
    *header = [0; HEADER_BYTES];
    if sums {
        header[0] = VIRTIO_NET_HDR_F_NEEDS_CSUM as u8;
        header[6..10].copy_from_slice(&[s0, s1, o0, o1]);
    }
    if segmented {
        header[1..6].copy_from_slice(&[gso_type, h0, h1, g0, g1]);
    }
    true
}

/// Whether a frame from the tap, with its header, is one that the driver understands. Those are not that the tap had made
/// for the driver before this one.
pub fn suits(bytes: &[u8], features: u64) -> bool {
    let Some(([flags, gso_type, ..], frame)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return false;
    };
    let whole = u32::from(*gso_type) == VIRTIO_NET_HDR_GSO_NONE
        || u32::from(*gso_type) == VIRTIO_NET_HDR_GSO_TCPV4
            && has(features, VIRTIO_NET_F_GUEST_TSO4);
    let summed = *flags == 0 || has(features, VIRTIO_NET_F_GUEST_CSUM);
    frame.len() >= MIN_FRAME_BYTES && whole && summed
}

#[cfg(test)]
mod tests {
    use super::super::config::FEATURES;
    use super::*;

    fn admitted(header: [u8; HEADER_BYTES], frame: usize, features: u64) -> Option<Vec<u8>> {
        let mut bytes = header.to_vec();
        bytes.resize(HEADER_BYTES + frame, 7);
        admit(&mut bytes, features).then(|| bytes[..HEADER_BYTES].to_vec())
    }

    #[test]
    fn a_header_says_only_what_was_negotiated() {
        let plain = [0; HEADER_BYTES];
        let sums = [1, 0, 9, 9, 9, 9, 34, 0, 16, 0, 5, 5];
        let segments = [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0];
        assert_eq!(admitted(plain, 60, 0), Some(plain.to_vec()));
        let clean = [1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0];
        assert_eq!(admitted(sums, 60, FEATURES), Some(clean.to_vec()));
        assert_eq!(admitted(segments, 3000, FEATURES), Some(segments.to_vec()));
        assert_eq!(admitted(sums, 60, 0), None);
        assert_eq!(admitted(segments, 3000, 1), None, "checksums alone");
    }

    #[test]
    fn the_guest_gets_what_it_understands() {
        let frame = |flags, gso_type| {
            let mut bytes = [0; HEADER_BYTES + MIN_FRAME_BYTES];
            bytes[..2].copy_from_slice(&[flags, gso_type]);
            bytes
        };
        for (header, by_all, by_ours) in [
            (frame(0, 0), true, true),
            (frame(1, 0), false, true),
            (frame(2, 0), false, true),
            (frame(1, 1), false, true),
            (frame(1, 4), false, false),
        ] {
            assert_eq!(suits(&header, 0), by_all);
            assert_eq!(suits(&header, FEATURES), by_ours);
        }
        assert!(!suits(&[0; HEADER_BYTES + MIN_FRAME_BYTES - 1], FEATURES));
        assert!(!suits(&[], FEATURES));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let bad: [([u8; HEADER_BYTES], usize); 8] = [
            ([0; HEADER_BYTES], 13),
            ([0; HEADER_BYTES], MAX_FRAME_BYTES + 1),
            ([1, 0, 0, 0, 0, 0, 59, 0, 0, 0, 0, 0], 60),
            ([1, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0], 60),
            ([0, 1, 54, 0, 0, 5, 0, 0, 0, 0, 0, 0], 3000),
            ([1, 1, 54, 0, 0, 0, 34, 0, 16, 0, 0, 0], 3000),
            ([1, 1, 255, 255, 0, 5, 34, 0, 16, 0, 0, 0], 3000),
            ([1, 4, 54, 0, 0, 5, 34, 0, 16, 0, 0, 0], 3000),
        ];
        for (header, frame) in bad {
            assert_eq!(admitted(header, frame, FEATURES), None, "{header:?}");
        }
        assert!(!admit(&mut [0; HEADER_BYTES - 1], FEATURES));
    }
}
