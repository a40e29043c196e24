//! What the function looks like from outside: its capabilities and what is where in its BAR.

use super::VirtioDevice;
use crate::pci::PciError;
use crate::pci::config::{ConfigSpace, Identity};
use crate::pci::msix::{self, Msix};
use crate::virtio::DeviceType;

const VENDOR_VIRTIO: u16 = 0x1af4;
/// Modern devices have 0x1040 + their type.
const DEVICE_BASE: u16 = 0x1040;
/// A function without I/O ports and with revision 1 is a modern device only.
const REVISION: u8 = 1;

const VENDOR_CAPABILITY: u8 = 9;
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const ISR: u8 = 3;
const DEVICE: u8 = 4;

/// Bytes from one queue's notification address to the next: each has its own, so that each can
/// be an ioeventfd without looking at the value.
pub const NOTIFY_STRIDE: u32 = 4;

/// Bytes of the BAR.
pub const BAR_SIZE: u64 = 0x8000;
/// Each part has a page of its own.
const PART_SIZE: u32 = 0x1000;

/// The parts of the BAR, each one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The common registers.
    Common,
    /// Interrupt status.
    Isr,
    /// The device's own configuration.
    Device,
    /// Queue notifications.
    Notify,
    /// The MSI-X table.
    MsixTable,
    /// MSI-X pending bits.
    MsixPending,
}

impl Part {
    const ALL: [Self; 6] = [
        Self::Common,
        Self::Isr,
        Self::Device,
        Self::Notify,
        Self::MsixTable,
        Self::MsixPending,
    ];

    /// Offset of the part's first byte in the BAR.
    pub const fn offset(self) -> u32 {
        self as u32 * PART_SIZE
    }

    /// The part in which an access of `len` bytes lies wholly, and its offset there.
    pub fn of(offset: u64, len: u64) -> Option<(Self, u64)> {
        let size = u64::from(PART_SIZE);
        let part = Self::ALL.get(usize::try_from(offset / size).ok()?)?;
        let within = offset % size;
        (len <= size - within).then_some((*part, within))
    }
}

/// The function's configuration space, and where its MSI-X capability is.
///
/// The spec's window into the BAR through configuration space (`VIRTIO_PCI_CAP_PCI_CFG`) is left
/// out: only firmware uses it, there is none here, and it is one more way in.
pub fn config_space(
    device: &impl VirtioDevice,
    msix: &Msix,
    address: u64,
) -> Result<(ConfigSpace, u16), PciError> {
    let kind = device.device_type();
    let mut config = ConfigSpace::new(Identity {
        vendor: VENDOR_VIRTIO,
        device: DEVICE_BASE + kind as u16,
        revision: REVISION,
        class: class(kind),
        subsystem: DEVICE_BASE + kind as u16,
    });
    config.set_bar0(address, BAR_SIZE)?;
    config.enable_memory();
    for (kind, part) in [
        (COMMON, Part::Common),
        (ISR, Part::Isr),
        (DEVICE, Part::Device),
    ] {
        config.add_capability(VENDOR_CAPABILITY, &part_capability(kind, part), &[])?;
    }
    let mut notify = part_capability(NOTIFY, Part::Notify).to_vec();
    notify.extend_from_slice(&NOTIFY_STRIDE.to_le_bytes());
    config.add_capability(VENDOR_CAPABILITY, &notify, &[])?;
    let (body, writable) = msix.capability(Part::MsixTable.offset(), Part::MsixPending.offset());
    let msix_at = config.add_capability(msix::CAPABILITY_ID, &body, &writable)?;
    Ok((config, msix_at))
}

/// What a device is listed as; drivers look at the ids, never at this.
fn class(kind: DeviceType) -> u32 {
    match kind {
        // Other mass storage controller.
        DeviceType::Block => 0x01_8000,
        DeviceType::Net => 0x02_0000,
        // Other communication controller.
        DeviceType::Vsock => 0x07_8000,
        // No class fits.
        DeviceType::Rng | DeviceType::Balloon => 0xff_0000,
    }
}

/// The body of a `virtio_pci_cap` after id and link, for a part of BAR 0.
fn part_capability(kind: u8, part: Part) -> [u8; 14] {
    let mut body = [0; 14];
    // The length that the spec wants counts id and link, and the notify stride behind it.
    body[0] = if kind == NOTIFY { 20 } else { 16 };
    body[1] = kind;
    body[6..10].copy_from_slice(&part.offset().to_le_bytes());
    body[10..].copy_from_slice(&PART_SIZE.to_le_bytes());
    body
}
