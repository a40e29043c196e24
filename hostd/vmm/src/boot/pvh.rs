//! The PVH boot protocol: a start info, a module list, a memory map.

use linux_loader::configurator::pvh::PvhBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::elf::start_info::{
    XEN_HVM_MEMMAP_TYPE_RAM, XEN_HVM_MEMMAP_TYPE_RESERVED, XEN_HVM_START_MAGIC_VALUE,
    hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::Error;
use super::kernel::Initramfs;
use super::memory_map::{Range, memory_map};
use crate::machine::layout;

/// Version 1 has the memory map.
const VERSION: u32 = 1;

/// Writes what the kernel finds through `ebx`.
///
/// # Errors
///
/// When guest memory is too small.
pub fn write(
    memory: &GuestMemoryMmap,
    memory_bytes: u64,
    initramfs: Initramfs,
    rsdp: GuestAddress,
) -> Result<(), Error> {
    let map: Vec<_> = memory_map(memory_bytes).into_iter().map(entry).collect();
    let modules = [hvm_modlist_entry {
        paddr: initramfs.start,
        size: initramfs.bytes,
        ..Default::default()
    }];
    let start_info = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: VERSION,
        nr_modules: 1,
        modlist_paddr: layout::PVH_MODULES,
        cmdline_paddr: layout::CMDLINE,
        rsdp_paddr: rsdp.0,
        memmap_paddr: layout::PVH_MEMORY_MAP,
        memmap_entries: map.len() as u32,
        ..Default::default()
    };
    let mut params = BootParams::new(&start_info, GuestAddress(layout::PVH_START_INFO));
    params.set_sections(&map, GuestAddress(layout::PVH_MEMORY_MAP));
    params.set_modules(&modules, GuestAddress(layout::PVH_MODULES));
    PvhBootConfigurator::write_bootparams(&params, memory).map_err(Error::Configure)
}

fn entry(range: Range) -> hvm_memmap_table_entry {
    hvm_memmap_table_entry {
        addr: range.start,
        size: range.bytes,
        type_: if range.usable {
            XEN_HVM_MEMMAP_TYPE_RAM
        } else {
            XEN_HVM_MEMMAP_TYPE_RESERVED
        },
        reserved: 0,
    }
}
