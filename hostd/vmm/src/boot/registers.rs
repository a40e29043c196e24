//! The first vCPU's registers at the kernel's entry.

use kvm_bindings::{kvm_msr_entry, kvm_regs, kvm_segment, kvm_sregs};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::Error;
use super::kernel::Entry;
use crate::kvm::Vcpu;
use crate::machine::layout;

const MSR_IA32_MISC_ENABLE: u32 = 0x1a0;
/// `REP MOVS` and friends are fast.
const MISC_ENABLE_FAST_STRING: u64 = 1;
const MSR_MTRR_DEF_TYPE: u32 = 0x2ff;
/// MTRRs are on and everything is write-back: no firmware has set them up.
const MTRR_ENABLED_WRITE_BACK: u64 = (1 << 11) | 6;

const CR0_PROTECTED: u64 = 0x1;
const CR0_EXTENSION_TYPE: u64 = 0x10;
const CR0_PAGING: u64 = 0x8000_0000;
const CR4_PAE: u64 = 0x20;
const EFER_LONG_MODE_ENABLED: u64 = 0x100;
const EFER_LONG_MODE_ACTIVE: u64 = 0x400;
/// The bit of `rflags` that is always set.
const RFLAGS_RESERVED: u64 = 0x2;

/// Sets the registers that every vCPU starts with.
///
/// # Errors
///
/// When KVM refuses.
pub fn set_msrs(vcpu: &Vcpu) -> Result<(), Error> {
    let msr = |index, data| kvm_msr_entry {
        index,
        data,
        ..Default::default()
    };
    vcpu.set_msrs(&[
        msr(MSR_IA32_MISC_ENABLE, MISC_ENABLE_FAST_STRING),
        msr(MSR_MTRR_DEF_TYPE, MTRR_ENABLED_WRITE_BACK),
    ])?;
    Ok(())
}

/// Puts the first vCPU at the kernel's entry. The others wait for its INIT.
///
/// # Errors
///
/// When KVM refuses, or guest memory cannot be written.
pub fn enter(vcpu: &Vcpu, memory: &GuestMemoryMmap, entry: Entry) -> Result<(), Error> {
    let (regs, mode) = match entry {
        Entry::Pvh(address) => (
            kvm_regs {
                rip: address.0,
                rbx: layout::PVH_START_INFO,
                rflags: RFLAGS_RESERVED,
                ..Default::default()
            },
            Mode::Protected,
        ),
        Entry::Linux64(address) => (
            kvm_regs {
                rip: address.0,
                rsi: layout::ZERO_PAGE,
                rflags: RFLAGS_RESERVED,
                ..Default::default()
            },
            Mode::Long,
        ),
    };
    let mut sregs = vcpu.sregs()?;
    set_mode(&mut sregs, mode);
    write_descriptors(memory, mode)?;
    vcpu.set_sregs(&sregs)?;
    vcpu.set_regs(&regs)?;
    Ok(())
}

/// Flat 32-bit protected mode without paging.
pub fn protected_mode(sregs: &mut kvm_sregs) {
    set_mode(sregs, Mode::Protected);
}

#[derive(Clone, Copy)]
enum Mode {
    Protected,
    Long,
}

/// Selectors as the Linux boot protocol wants them.
const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;
const TSS_SELECTOR: u16 = 0x20;

fn set_mode(sregs: &mut kvm_sregs, mode: Mode) {
    let data = segment(DATA_SELECTOR, 0x3, mode);
    sregs.cs = segment(CODE_SELECTOR, 0xb, mode);
    for register in [
        &mut sregs.ds,
        &mut sregs.es,
        &mut sregs.fs,
        &mut sregs.gs,
        &mut sregs.ss,
    ] {
        *register = data;
    }
    sregs.tr = task_segment();
    sregs.gdt.base = layout::GDT;
    sregs.gdt.limit = 5 * 8 - 1;
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    sregs.cr0 = CR0_PROTECTED | CR0_EXTENSION_TYPE;
    sregs.cr4 = 0;
    sregs.efer = 0;
    if let Mode::Long = mode {
        sregs.cr0 |= CR0_PAGING;
        sregs.cr3 = layout::PAGE_TABLES;
        sregs.cr4 = CR4_PAE;
        sregs.efer = EFER_LONG_MODE_ENABLED | EFER_LONG_MODE_ACTIVE;
    }
}

/// A flat segment: base 0, limit 4 GiB.
fn segment(selector: u16, type_: u8, mode: Mode) -> kvm_segment {
    let code = type_ & 0x8 != 0;
    let long = code && matches!(mode, Mode::Long);
    kvm_segment {
        base: 0,
        limit: 0xffff_ffff,
        selector,
        type_,
        present: 1,
        dpl: 0,
        db: u8::from(!long),
        s: 1,
        l: u8::from(long),
        g: 1,
        ..Default::default()
    }
}

fn task_segment() -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: 0x67,
        selector: TSS_SELECTOR,
        type_: 0xb,
        present: 1,
        ..Default::default()
    }
}

/// Writes the descriptor table that the segments above claim to come from.
fn write_descriptors(memory: &GuestMemoryMmap, mode: Mode) -> Result<(), Error> {
    let table = [
        0,
        0,
        descriptor(&segment(CODE_SELECTOR, 0xb, mode)),
        descriptor(&segment(DATA_SELECTOR, 0x3, mode)),
        descriptor(&task_segment()),
    ];
    for (index, entry) in (0..).zip(table) {
        memory
            .write_obj::<u64>(entry, GuestAddress(layout::GDT + index * 8))
            .map_err(Error::Memory)?;
    }
    Ok(())
}

/// Encodes a segment the way a descriptor table holds it.
fn descriptor(segment: &kvm_segment) -> u64 {
    let limit = u64::from(if segment.g == 1 {
        segment.limit >> 12
    } else {
        segment.limit
    });
    let flags = u64::from(segment.type_)
        | u64::from(segment.s) << 4
        | u64::from(segment.dpl) << 5
        | u64::from(segment.present) << 7
        | u64::from(segment.l) << 13
        | u64::from(segment.db) << 14
        | u64::from(segment.g) << 15;
    (limit & 0xffff)
        | (segment.base & 0xff_ffff) << 16
        | flags << 40
        | (limit >> 16 & 0xf) << 48
        | (segment.base >> 24 & 0xff) << 56
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_those_of_the_manual() {
        let code32 = segment(CODE_SELECTOR, 0xb, Mode::Protected);
        let code64 = segment(CODE_SELECTOR, 0xb, Mode::Long);
        let data = segment(DATA_SELECTOR, 0x3, Mode::Long);
        assert_eq!(descriptor(&code32), 0x00cf_9b00_0000_ffff);
        assert_eq!(descriptor(&code64), 0x00af_9b00_0000_ffff);
        assert_eq!(descriptor(&data), 0x00cf_9300_0000_ffff);
        assert_eq!(descriptor(&task_segment()), 0x0000_8b00_0000_0067);
    }
}
