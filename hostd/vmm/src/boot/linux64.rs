//! The 64-bit Linux boot protocol: a zero page and identity page tables.

use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::Error;
use super::kernel::Initramfs;
use super::memory_map::memory_map;
use crate::machine::layout;

/// "Undefined": a loader without a registered id.
const LOADER_TYPE: u8 = 0xff;
const E820_RAM: u32 = 1;
const E820_RESERVED: u32 = 2;

/// Writes what the kernel finds through `rsi`, and the page tables that it starts with.
///
/// # Errors
///
/// When guest memory is too small.
pub fn write(
    memory: &GuestMemoryMmap,
    memory_bytes: u64,
    header: setup_header,
    initramfs: Initramfs,
    rsdp: GuestAddress,
) -> Result<(), Error> {
    let mut params = boot_params {
        hdr: header,
        acpi_rsdp_addr: rsdp.0,
        ..Default::default()
    };
    params.hdr.type_of_loader = LOADER_TYPE;
    params.hdr.cmd_line_ptr = layout::CMDLINE as u32;
    // The initramfs lies below the gap: its address and its length fit 32 bits.
    params.hdr.ramdisk_image = initramfs.start as u32;
    params.hdr.ramdisk_size = initramfs.bytes as u32;
    let map = memory_map(memory_bytes);
    params.e820_entries = map.len() as u8;
    let mut table = params.e820_table;
    for (to, range) in table.iter_mut().zip(map) {
        *to = boot_e820_entry {
            addr: range.start,
            size: range.bytes,
            r#type: if range.usable {
                E820_RAM
            } else {
                E820_RESERVED
            },
        };
    }
    params.e820_table = table;
    let boot_params = BootParams::new(&params, GuestAddress(layout::ZERO_PAGE));
    LinuxBootConfigurator::write_bootparams(&boot_params, memory).map_err(Error::Configure)?;
    write_page_tables(memory)
}

/// Maps the first GiB to itself in 2 MiB pages; the kernel soon makes its own tables.
fn write_page_tables(memory: &GuestMemoryMmap) -> Result<(), Error> {
    const PRESENT_WRITABLE: u64 = 0b11;
    const HUGE: u64 = 1 << 7;
    const PAGE: u64 = 0x1000;
    const ENTRIES: u64 = 512;
    let [pml4, pdpt, pd] = [0, 1, 2].map(|index| layout::PAGE_TABLES + index * PAGE);
    let write = |value: u64, at: u64| {
        memory
            .write_obj(value, GuestAddress(at))
            .map_err(Error::Memory)
    };
    write(pdpt | PRESENT_WRITABLE, pml4)?;
    write(pd | PRESENT_WRITABLE, pdpt)?;
    for index in 0..ENTRIES {
        let page = (index << 21) | PRESENT_WRITABLE | HUGE;
        write(page, pd + index * size_of::<u64>() as u64)?;
    }
    Ok(())
}
