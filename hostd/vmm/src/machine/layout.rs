//! Where things are in guest physical memory.
//!
//! ```text
//!          0 ┬ low memory: boot structures below 640 KiB, ACPI tables from 896 KiB
//!      1 MiB ┼ high memory: kernel, initramfs at its end
//!      3 GiB ┼ 32-bit PCI window (BARs)
//!   3.5 GiB  ┼ ECAM: PCI configuration space of one bus
//!  4 GiB-20M ┼ IOAPIC, LAPIC, pages of KVM
//!      4 GiB ┼ the rest of memory, when there is more than 3 GiB
//! ```

/// One mebibyte.
pub const MIB: u64 = 1 << 20;
/// One gibibyte.
pub const GIB: u64 = 1 << 30;

/// The global descriptor table of the first vCPU.
pub const GDT: u64 = 0x500;
/// The PVH start info.
pub const PVH_START_INFO: u64 = 0x6000;
/// The PVH module list: the initramfs.
pub const PVH_MODULES: u64 = 0x6040;
/// The PVH memory map.
pub const PVH_MEMORY_MAP: u64 = 0x6080;
/// The zero page of the Linux boot protocol.
pub const ZERO_PAGE: u64 = 0x7000;
/// Identity page tables for the 64-bit entry: three pages.
pub const PAGE_TABLES: u64 = 0x9000;
/// The kernel's command line.
pub const CMDLINE: u64 = 0x2_0000;
/// The longest command line that an x86 kernel takes, with its final zero.
pub const CMDLINE_MAX_BYTES: usize = 2048;
/// End of the low memory that a kernel may use freely.
pub const LOW_MEMORY_END: u64 = 0xa_0000;
/// ACPI tables, in the area where firmware would put them.
pub const ACPI_TABLES: u64 = 0xe_0000;
/// End of that area.
pub const ACPI_TABLES_END: u64 = 0x10_0000;
/// Where kernels are loaded from.
pub const HIGH_MEMORY: u64 = 0x10_0000;

/// The gap below 4 GiB: no memory, all devices.
pub const GAP_START: u64 = 3 * GIB;
/// Memory goes on here.
pub const GAP_END: u64 = 4 * GIB;
/// The window for 32-bit PCI BARs.
pub const PCI_WINDOW: u64 = GAP_START;
/// Bytes of that window.
pub const PCI_WINDOW_BYTES: u64 = 512 * MIB;
/// PCI configuration space, memory mapped.
pub const ECAM: u64 = PCI_WINDOW + PCI_WINDOW_BYTES;
/// Bytes of configuration space: one bus.
pub const ECAM_BYTES: u64 = MIB;
/// The IOAPIC's registers.
pub const IOAPIC: u32 = 0xfec0_0000;
/// The LAPICs' registers.
pub const LAPIC: u32 = 0xfee0_0000;
/// Pages that KVM uses itself, up to the end of the gap.
pub const KVM_PAGES: u64 = 0xfffb_c000;

/// ACPI sleep control, sleep status and reset registers, one port each.
pub const POWER_PORT: u64 = 0x600;

/// Guest memory as (start, bytes), for `bytes` of it.
pub fn memory_ranges(bytes: u64) -> Vec<(u64, u64)> {
    let below = bytes.min(GAP_START);
    let mut ranges = vec![(0, below)];
    if bytes > below {
        ranges.push((GAP_END, bytes - below));
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_split_around_the_gap() {
        assert_eq!(memory_ranges(GIB), [(0, GIB)]);
        assert_eq!(memory_ranges(3 * GIB), [(0, 3 * GIB)]);
        assert_eq!(memory_ranges(16 * GIB), [(0, 3 * GIB), (4 * GIB, 13 * GIB)]);
    }
}
