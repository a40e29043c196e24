//! Loading kernel, initramfs and command line.

use std::fs::File;
use std::io::{Read, Seek};

use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::elf::PvhBootCapability;
use linux_loader::loader::{BzImage, Elf, KernelLoader};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::{Error, linux64, pvh};
use crate::machine::layout;

/// The files and the text that make up what boots.
#[derive(Debug)]
pub struct Payload {
    /// ELF with a PVH note, or bzImage.
    pub kernel: File,
    /// The initramfs.
    pub initramfs: File,
    /// The kernel's command line.
    pub cmdline: String,
}

/// Where the first vCPU starts.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    /// 32-bit protected mode, paging off, the start info in `ebx`.
    Pvh(GuestAddress),
    /// 64-bit mode with identity page tables, the zero page in `rsi`.
    Linux64(GuestAddress),
}

/// Where the initramfs lies.
#[derive(Clone, Copy, Debug)]
pub struct Initramfs {
    /// Its first byte.
    pub start: u64,
    /// Its length.
    pub bytes: u64,
}

/// Writes everything that boots into guest memory, except the ACPI tables, which lie at `rsdp`.
///
/// # Errors
///
/// When a file is not what it should be or does not fit.
pub fn load(
    memory: &GuestMemoryMmap,
    memory_bytes: u64,
    payload: Payload,
    rsdp: GuestAddress,
) -> Result<Entry, Error> {
    let Payload {
        mut kernel,
        initramfs,
        cmdline,
    } = payload;
    let loaded = load_kernel(memory, &mut kernel)?;
    let low_end = memory_bytes.min(layout::GAP_START);
    let initramfs = load_initramfs(memory, initramfs, loaded.end, low_end)?;
    write_cmdline(memory, &cmdline)?;
    match loaded.entry {
        Entry::Pvh(_) => pvh::write(memory, memory_bytes, initramfs, rsdp)?,
        Entry::Linux64(_) => {
            let header = loaded.header.ok_or(Error::No64BitEntry)?;
            linux64::write(memory, memory_bytes, header, initramfs, rsdp)?;
        }
    }
    Ok(loaded.entry)
}

struct Loaded {
    entry: Entry,
    end: u64,
    header: Option<setup_header>,
}

fn load_kernel(memory: &GuestMemoryMmap, kernel: &mut File) -> Result<Loaded, Error> {
    let mut magic = [0; 4];
    kernel
        .rewind()
        .and_then(|()| kernel.read_exact(&mut magic))
        .map_err(|source| Error::Read("kernel", source))?;
    if magic == *b"\x7fELF" {
        load_elf(memory, kernel)
    } else {
        load_bzimage(memory, kernel)
    }
}

fn load_elf(memory: &GuestMemoryMmap, kernel: &mut File) -> Result<Loaded, Error> {
    let lowest = Some(GuestAddress(layout::HIGH_MEMORY));
    let result = Elf::load(memory, None, kernel, lowest).map_err(Error::Kernel)?;
    let PvhBootCapability::PvhEntryPresent(entry) = result.pvh_boot_cap else {
        return Err(Error::NoPvhEntry);
    };
    Ok(Loaded {
        entry: Entry::Pvh(entry),
        end: result.kernel_end,
        header: None,
    })
}

fn load_bzimage(memory: &GuestMemoryMmap, kernel: &mut File) -> Result<Loaded, Error> {
    /// `XLF_KERNEL_64`: there is a 64-bit entry 512 bytes after the start.
    const XLF_KERNEL_64: u16 = 1;
    const ENTRY_OFFSET: u64 = 0x200;
    let lowest = Some(GuestAddress(layout::HIGH_MEMORY));
    let result = BzImage::load(memory, None, kernel, lowest).map_err(Error::Kernel)?;
    let header = result.setup_header.ok_or(Error::No64BitEntry)?;
    if header.xloadflags & XLF_KERNEL_64 == 0 {
        return Err(Error::No64BitEntry);
    }
    // The kernel unpacks itself to its preferred address and needs `init_size` bytes there.
    let pref_address = header.pref_address;
    let unpacked = pref_address.saturating_add(u64::from(header.init_size));
    Ok(Loaded {
        entry: Entry::Linux64(GuestAddress(result.kernel_load.0 + ENTRY_OFFSET)),
        end: result.kernel_end.max(unpacked),
        header: Some(header),
    })
}

/// Puts the initramfs at the end of low memory, where the unpacking kernel never is.
fn load_initramfs(
    memory: &GuestMemoryMmap,
    mut file: File,
    kernel_end: u64,
    low_end: u64,
) -> Result<Initramfs, Error> {
    let read_error = |source| Error::Read("initramfs", source);
    let bytes = file.metadata().map_err(read_error)?.len();
    file.rewind().map_err(read_error)?;
    let start = low_end.saturating_sub(bytes) & !0xfff;
    if start < kernel_end {
        return Err(Error::TooLarge {
            needed: kernel_end.saturating_add(bytes),
            available: low_end,
        });
    }
    memory
        .read_exact_volatile_from(GuestAddress(start), &mut file, bytes as usize)
        .map_err(Error::Memory)?;
    Ok(Initramfs { start, bytes })
}

fn write_cmdline(memory: &GuestMemoryMmap, cmdline: &str) -> Result<(), Error> {
    if cmdline.len() >= layout::CMDLINE_MAX_BYTES || cmdline.contains('\0') {
        return Err(Error::Cmdline(cmdline.len()));
    }
    let mut bytes = cmdline.as_bytes().to_vec();
    bytes.push(0);
    memory
        .write_slice(&bytes, GuestAddress(layout::CMDLINE))
        .map_err(Error::Memory)
}
