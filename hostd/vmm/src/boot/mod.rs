//! Bringing a kernel into memory and the first vCPU to its entry.
//!
//! - [`kernel`]: ELF with a PVH note, or bzImage; initramfs and command line.
//! - [`memory_map`]: what the guest is told about its memory.
//! - [`pvh`], [`linux64`]: the two boot protocols.
//! - [`registers`]: the first vCPU's state at either entry.
//! - [`cpuid`]: what the guest is told about its processors.
//! - [`acpi`]: what the guest is told about the rest.

pub mod acpi;
pub mod cpuid;
pub mod kernel;
mod linux64;
mod memory_map;
mod pvh;
pub mod registers;

/// Why a kernel could not be made ready to boot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel file is neither an ELF nor a bzImage that fits.
    #[error("cannot load the kernel")]
    Kernel(#[source] linux_loader::loader::Error),
    /// A file cannot be read.
    #[error("cannot read the {0}")]
    Read(&'static str, #[source] std::io::Error),
    /// The ELF has no PVH note.
    #[error("the kernel is an ELF without a PVH entry")]
    NoPvhEntry,
    /// The bzImage has no 64-bit entry or wants to be somewhere else.
    #[error("the kernel is a bzImage without a 64-bit entry")]
    No64BitEntry,
    /// Kernel and initramfs together are larger than the machine's low memory.
    #[error("kernel and initramfs need {needed} bytes, the machine has {available}")]
    TooLarge {
        /// Bytes needed.
        needed: u64,
        /// Bytes of memory below the gap.
        available: u64,
    },
    /// The command line cannot be passed on.
    #[error("the kernel command line has {0} bytes, at most 2047 fit, and none may be zero")]
    Cmdline(usize),
    /// Guest memory could not be written; the layout and the machine's size disagree.
    #[error("cannot write boot data to guest memory")]
    Memory(#[source] vm_memory::GuestMemoryError),
    /// Same, found by the boot configurator.
    #[error("cannot write boot parameters to guest memory")]
    Configure(#[source] linux_loader::configurator::Error),
    /// The ACPI tables do not fit their place.
    #[error("ACPI tables have {0} bytes, too many")]
    Acpi(usize),
    /// KVM refused registers.
    #[error(transparent)]
    Kvm(#[from] crate::kvm::Error),
}
