//! What the guest is told about its processors.
//!
//! Everything that KVM supports, minus what a snapshot could not carry or a sandbox has no use for,
//! plus a topology of one socket with one thread per core.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

/// A register of a CPUID leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}
use Register::{Eax, Ebx, Ecx, Edx};

/// Features that guests do not get: leaf, subleaf, register, bits, with the reason beside it.
const HIDDEN: [(u32, u32, Register, u32); 8] = [
    // Nested virtualisation, and the performance counters' capability register.
    (0x1, 0, Ecx, (1 << 5) | (1 << 15)),
    // SGX, MPX, processor trace: state that nobody saves.
    (0x7, 0, Ebx, (1 << 2) | (1 << 14) | (1 << 25)),
    // SGX launch control.
    (0x7, 0, Ecx, 1 << 30),
    // Nested virtualisation, AMD's extended performance counters.
    (
        0x8000_0001,
        0,
        Ecx,
        (1 << 2) | (1 << 23) | (1 << 24) | (1 << 28),
    ),
    // All performance monitoring: the first probe of each counter is an exit, and the counts of a
    // restored guest would be another machine's.
    (0xa, 0, Eax, u32::MAX),
    (0xa, 0, Ebx, u32::MAX),
    (0xa, 0, Edx, u32::MAX),
    // Paravirtual features: asynchronous page faults (a completion that is lost in a snapshot hangs a
    // process for ever), host-side polling control (an idle clone must sleep), memory encryption.
    (
        0x4000_0001,
        0,
        Eax,
        (1 << 4) | (1 << 10) | (1 << 12) | (1 << 14) | (1 << 16) | (1 << 17),
    ),
];

const HYPERVISOR: u32 = 1 << 31;
/// KVM emulates this timer on every host but does not list it as a CPUID feature.
const TSC_DEADLINE: u32 = 1 << 24;
const X2APIC: u32 = 1 << 21;
const HYPER_THREADING: u32 = 1 << 28;

/// Why a saved machine cannot run on this host's processor.
#[derive(Debug, thiserror::Error)]
pub enum Incompatible {
    /// Another maker's processor.
    #[error("the snapshot is of a {saved} processor, this host has a {host}")]
    Vendor {
        /// What the guest has seen.
        saved: String,
        /// What this host has.
        host: String,
    },
    /// The guest may use what this host lacks.
    #[error("this host lacks the processor features {}", .0.join(", "))]
    Features(Vec<String>),
}

/// Checks that what a guest was shown is something that this host can show.
///
/// # Errors
///
/// [`Incompatible`] with all that is missing.
pub fn check(saved: &[kvm_cpuid_entry2], host: &[kvm_cpuid_entry2]) -> Result<(), Incompatible> {
    if vendor(saved) != vendor(host) {
        return Err(Incompatible::Vendor {
            saved: vendor(saved),
            host: vendor(host),
        });
    }
    let missing: Vec<_> = feature_words(saved)
        .flat_map(|word| {
            let lacking = word.bits & !word_of(host, word.place).unwrap_or(0);
            Word {
                bits: lacking,
                ..word
            }
            .names()
        })
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Incompatible::Features(missing))
    }
}

/// The CPUID of vCPU `id` out of `vcpus`.
pub fn for_vcpu(supported: &CpuId, id: u8, vcpus: u8) -> Vec<kvm_cpuid_entry2> {
    let topology = Topology {
        id: u32::from(id),
        vcpus: u32::from(vcpus),
    };
    let mut entries: Vec<_> = supported
        .as_slice()
        .iter()
        .filter(|entry| !matches!(entry.function, 0xb | 0x1f))
        .copied()
        .collect();
    for entry in &mut entries {
        hide(entry);
        topology.describe(entry);
    }
    entries.extend(topology.extended_leaves());
    entries
}

fn hide(entry: &mut kvm_cpuid_entry2) {
    for (leaf, subleaf, register, bits) in HIDDEN {
        if (entry.function, entry.index) == (leaf, subleaf) {
            *register_of(entry, register) &= !bits;
        }
    }
}

fn register_of(entry: &mut kvm_cpuid_entry2, register: Register) -> &mut u32 {
    match register {
        Eax => &mut entry.eax,
        Ebx => &mut entry.ebx,
        Ecx => &mut entry.ecx,
        Edx => &mut entry.edx,
    }
}

struct Topology {
    id: u32,
    vcpus: u32,
}

impl Topology {
    fn describe(&self, entry: &mut kvm_cpuid_entry2) {
        let last = self.vcpus - 1;
        match entry.function {
            0x1 => {
                entry.ebx = (entry.ebx & 0xffff) | (self.vcpus << 16) | (self.id << 24);
                entry.ecx |= HYPERVISOR | TSC_DEADLINE | X2APIC;
                entry.edx &= !HYPER_THREADING;
                entry.edx |= if self.vcpus > 1 { HYPER_THREADING } else { 0 };
            }
            // Intel's caches: bits 31..26 cores in the package, 25..14 threads that share the cache.
            0x4 if entry.eax & 0x1f != 0 => {
                let sharing = if cache_level(entry) >= 3 { last } else { 0 };
                entry.eax = (entry.eax & 0x3fff) | (last << 26) | (sharing << 14);
            }
            // AMD's count of cores.
            0x8000_0008 => entry.ecx = (entry.ecx & !0xf0ff) | last | (self.id_bits() << 12),
            // AMD's caches, as Intel's but without the cores.
            0x8000_001d if entry.eax & 0x1f != 0 => {
                let sharing = if cache_level(entry) >= 3 { last } else { 0 };
                entry.eax = (entry.eax & 0x3fff) | (sharing << 14);
            }
            // AMD's extended APIC id, core id with one thread, node 0 of one.
            0x8000_001e => {
                entry.eax = self.id;
                entry.ebx = self.id;
                entry.ecx = 0;
            }
            _ => {}
        }
    }

    /// Leaf 0xb: level 0 is one thread per core, level 1 all cores of the socket.
    fn extended_leaves(&self) -> [kvm_cpuid_entry2; 2] {
        const THREADS: u32 = 1 << 8;
        const CORES: u32 = 2 << 8;
        let level = |index, shift, count, kind| kvm_cpuid_entry2 {
            function: 0xb,
            index,
            flags: kvm_bindings::KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
            eax: shift,
            ebx: count,
            ecx: index | kind,
            edx: self.id,
            ..Default::default()
        };
        [
            level(0, 0, 1, THREADS),
            level(1, self.id_bits(), self.vcpus, CORES),
        ]
    }

    /// Bits of an APIC id that count cores.
    fn id_bits(&self) -> u32 {
        self.vcpus.next_power_of_two().trailing_zeros()
    }
}

fn cache_level(entry: &kvm_cpuid_entry2) -> u32 {
    entry.eax >> 5 & 0x7
}

/// The vendor string of leaf 0, like `AuthenticAMD`.
pub fn vendor(entries: &[kvm_cpuid_entry2]) -> String {
    let Some(leaf) = entries.iter().find(|entry| entry.function == 0) else {
        return String::new();
    };
    let bytes: Vec<u8> = [leaf.ebx, leaf.edx, leaf.ecx]
        .iter()
        .flat_map(|register| register.to_le_bytes())
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The registers whose bits are features that a program may come to rely on.
const FEATURE_REGISTERS: [Place; 17] = [
    (0x1, 0, Ecx),
    (0x1, 0, Edx),
    (0x6, 0, Eax),
    (0x7, 0, Ebx),
    (0x7, 0, Ecx),
    (0x7, 0, Edx),
    (0x7, 1, Eax),
    (0x7, 1, Edx),
    (0x7, 2, Edx),
    (0xd, 0, Eax),
    (0xd, 1, Eax),
    (0x4000_0001, 0, Eax),
    (0x8000_0001, 0, Ecx),
    (0x8000_0001, 0, Edx),
    (0x8000_0007, 0, Edx),
    (0x8000_0008, 0, Ebx),
    (0x8000_0021, 0, Eax),
];

/// Bits of those registers that say nothing about the host: the vmm sets them whatever KVM lists.
const NOT_OF_THE_HOST: [(u32, Register, u32); 2] = [
    (0x1, Ecx, HYPERVISOR | TSC_DEADLINE | X2APIC),
    (0x1, Edx, HYPER_THREADING),
];

/// A register of a leaf and subleaf.
type Place = (u32, u32, Register);

/// The feature bits in one register.
#[derive(Clone, Copy)]
struct Word {
    place: Place,
    bits: u32,
}

impl Word {
    /// Each bit as `leaf.subleaf:register:bit`.
    fn names(self) -> impl Iterator<Item = String> {
        let (leaf, subleaf, register) = self.place;
        let set = (0..u32::BITS).filter(move |bit| self.bits & (1 << bit) != 0);
        set.map(move |bit| format!("{leaf:x}.{subleaf}:{}:{bit}", name(register)))
    }
}

/// Every feature bit of `entries` as `leaf.subleaf:register:bit`, sorted.
pub fn features(entries: &[kvm_cpuid_entry2]) -> Vec<String> {
    let mut features: Vec<_> = feature_words(entries).flat_map(Word::names).collect();
    features.sort();
    features
}

fn feature_words(entries: &[kvm_cpuid_entry2]) -> impl Iterator<Item = Word> {
    FEATURE_REGISTERS.into_iter().filter_map(|place| {
        let bits = word_of(entries, place)?;
        Some(Word { place, bits })
    })
}

/// The feature bits of one register, if there is such a leaf.
fn word_of(entries: &[kvm_cpuid_entry2], place: Place) -> Option<u32> {
    let (leaf, subleaf, register) = place;
    let found = entries
        .iter()
        .find(|entry| (entry.function, entry.index) == (leaf, subleaf));
    let ignored = NOT_OF_THE_HOST
        .iter()
        .find(|(of, which, _)| (*of, *which) == (leaf, register))
        .map_or(0, |(_, _, bits)| *bits);
    let mut entry = *found?;
    Some(*register_of(&mut entry, register) & !ignored)
}

fn name(register: Register) -> &'static str {
    match register {
        Eax => "eax",
        Ebx => "ebx",
        Ecx => "ecx",
        Edx => "edx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(function: u32, index: u32, registers: [u32; 4]) -> kvm_cpuid_entry2 {
        let [eax, ebx, ecx, edx] = registers;
        kvm_cpuid_entry2 {
            function,
            index,
            eax,
            ebx,
            ecx,
            edx,
            ..Default::default()
        }
    }

    #[test]
    fn each_vcpu_has_its_own_id_in_every_leaf() {
        let supported = [leaf(1, 0, [0; 4]), leaf(0x8000_001e, 0, [9; 4])];
        let supported = CpuId::from_entries(&supported).unwrap();
        let cpuid = for_vcpu(&supported, 3, 4);
        let find = |function| cpuid.iter().find(|e| e.function == function).unwrap();
        assert_eq!(find(1).ebx >> 24, 3);
        assert_eq!(find(1).ebx >> 16 & 0xff, 4);
        assert_eq!(find(0x8000_001e).eax, 3);
        assert!(
            cpuid
                .iter()
                .filter(|e| e.function == 0xb)
                .all(|e| e.edx == 3)
        );
    }

    #[test]
    fn hidden_features_are_gone() {
        let supported = CpuId::from_entries(&[leaf(1, 0, [0, 0, 1 << 5, 0])]).unwrap();
        let cpuid = for_vcpu(&supported, 0, 1);
        assert_eq!(cpuid[0].ecx & (1 << 5), 0);
    }

    #[test]
    fn features_are_named_by_place() {
        let found = features(&[leaf(7, 0, [0, 1 << 5, 0, 0])]);
        assert_eq!(found, ["7.0:ebx:5"]);
    }

    #[test]
    fn a_lacking_host_is_told_what_it_lacks() {
        let saved = [leaf(7, 0, [0, 0b11, 0, 0])];
        let host = [leaf(7, 0, [0, 0b01, 0, 0])];
        assert!(check(&host, &saved).is_ok());
        let Err(Incompatible::Features(missing)) = check(&saved, &host) else {
            panic!("taken");
        };
        assert_eq!(missing, ["7.0:ebx:1"]);
    }

    #[test]
    fn vendor_is_read_in_register_order() {
        let entries = [leaf(0, 0, [0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65])];
        assert_eq!(vendor(&entries), "AuthenticAMD");
    }
}
