//! What the card offers, and its configuration space.

use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_MTU,
};

/// A card's address.
pub type Mac = [u8; 6];

/// The largest packet that the network carries as such, in bytes. Larger ones are offloaded segmentation.
const MTU: u16 = 1500;

/// Checksums and the segmentation of TCP over IPv4 are left to the tap in both directions, so that a stream travels in
/// pieces of 64 KiB. There is nothing but IPv4 on the other side.
pub const FEATURES: u64 = bits(&[
    VIRTIO_NET_F_MAC,
    VIRTIO_NET_F_MTU,
    VIRTIO_NET_F_CSUM,
    VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_GUEST_CSUM,
    VIRTIO_NET_F_GUEST_TSO4,
    VIRTIO_NET_F_MRG_RXBUF,
]);

const fn bits(features: &[u32]) -> u64 {
    let (mut all, mut at) = (0, 0);
    while at < features.len() {
        all |= 1 << features[at];
        at += 1;
    }
    all
}

/// Whether a feature is among `features`.
pub const fn has(features: u64, feature: u32) -> bool {
    features >> feature & 1 == 1
}

/// `struct virtio_net_config`: address, status, queue pairs, MTU. Those between are of features that are not offered.
pub fn bytes(mac: Mac) -> [u8; 12] {
    let mut bytes = [0; 12];
    let (address, rest) = bytes.split_at_mut(mac.len());
    address.copy_from_slice(&mac);
    if let Some(mtu) = rest.get_mut(4..) {
        mtu.copy_from_slice(&MTU.to_le_bytes());
    }
    bytes
}
