//! Values that a manifest may have.

use super::{Cpu, Description, Files, Image, Machine, Manifest, ManifestError};
use crate::disk::MAX_DISK_BYTES;
use crate::memory::{MAX_MEMORY_BYTES, PAGE_BYTES};

const MAX_LABELS: usize = 64;
const MAX_LABEL_KEY_BYTES: usize = 63;
const MAX_LABEL_VALUE_BYTES: usize = 255;
/// Names and versions: everything that is shown to people in a line.
const MAX_TEXT_BYTES: usize = 128;
const MAX_VCPUS: u32 = 8;
const MAX_DISKS: usize = 8;
const MAX_FEATURES: usize = 4096;
const MAX_FEATURE_BYTES: usize = 64;
const SHA256_DIGITS: usize = 64;

type Checked = Result<(), ManifestError>;

/// Checks everything that types do not say.
pub(super) fn check(manifest: &Manifest) -> Checked {
    let Manifest {
        format_version,
        id: _,
        parent,
        description,
        files,
    } = manifest;
    if *format_version != super::FORMAT_VERSION {
        return Err(ManifestError::Version {
            found: *format_version,
        });
    }
    ensure(parent.is_none(), "parent", || {
        "is set: this version knows no diffs".into()
    })?;
    check_description(description)?;
    check_files(files, &description.machine)
}

fn check_description(description: &Description) -> Checked {
    let Description {
        organisation,
        labels,
        sandbox_id,
        machine,
        image,
        cpu,
        agent_version,
        vmm_version,
        ..
    } = description;
    ensure(labels.len() <= MAX_LABELS, "labels", || {
        format!("are more than {MAX_LABELS}")
    })?;
    for (key, value) in labels {
        let good =
            (1..=MAX_LABEL_KEY_BYTES).contains(&key.len()) && value.len() <= MAX_LABEL_VALUE_BYTES;
        ensure(good, "labels", || {
            format!(
                "need keys of 1..={MAX_LABEL_KEY_BYTES} bytes and values up to \
                 {MAX_LABEL_VALUE_BYTES}"
            )
        })?;
    }
    for (field, text) in [
        ("organisation", organisation.as_deref().unwrap_or_default()),
        ("sandbox_id", sandbox_id.as_str()),
        ("image.name", &image.name),
        ("cpu.vendor", &cpu.vendor),
        ("agent_version", agent_version.as_str()),
        ("vmm_version", vmm_version.as_str()),
    ] {
        let good = text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control);
        ensure(good, field, || {
            format!("is not a line of at most {MAX_TEXT_BYTES} bytes")
        })?;
    }
    check_image(image)?;
    check_cpu(cpu)?;
    check_machine(machine)
}

fn check_image(image: &Image) -> Checked {
    let lower_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    let good = image.id.len() == SHA256_DIGITS && image.id.bytes().all(lower_hex);
    ensure(good, "image.id", || {
        "is not a SHA-256 in lower-case hexadecimal".into()
    })
}

fn check_cpu(cpu: &Cpu) -> Checked {
    let features = &cpu.features;
    ensure(features.len() <= MAX_FEATURES, "cpu.features", || {
        format!("are more than {MAX_FEATURES}")
    })?;
    let good = features
        .iter()
        .all(|feature| (1..=MAX_FEATURE_BYTES).contains(&feature.len()));
    ensure(good, "cpu.features", || {
        format!("are not of 1..={MAX_FEATURE_BYTES} bytes")
    })?;
    ensure(features.is_sorted_by(|a, b| a < b), "cpu.features", || {
        "are not sorted, or one is there twice".into()
    })
}

fn check_machine(machine: &Machine) -> Checked {
    let Machine {
        vcpus,
        memory_bytes,
        disks,
        network: _,
    } = machine;
    ensure((1..=MAX_VCPUS).contains(vcpus), "machine.vcpus", || {
        format!("is {vcpus}, not 1..={MAX_VCPUS}")
    })?;
    let good = (1..=MAX_MEMORY_BYTES).contains(memory_bytes)
        && memory_bytes.is_multiple_of(PAGE_BYTES as u64);
    ensure(good, "machine.memory_bytes", || {
        format!("is {memory_bytes}")
    })?;
    ensure(disks.len() <= MAX_DISKS, "machine.disks", || {
        format!("are more than {MAX_DISKS}")
    })?;
    for disk in disks {
        let good = (1..=MAX_DISK_BYTES).contains(&disk.bytes);
        ensure(good, "machine.disks", || {
            format!("has one of {} bytes", disk.bytes)
        })?;
    }
    Ok(())
}

fn check_files(files: &Files, machine: &Machine) -> Checked {
    let layers = files.layers.iter().map(|layer| layer.disk as usize);
    ensure(layers.eq(writable(machine)), "files.layers", || {
        "are not one for each writable disk, in order".into()
    })
}

/// Positions of the disks that have a layer.
fn writable(machine: &Machine) -> impl Iterator<Item = usize> {
    machine
        .disks
        .iter()
        .enumerate()
        .filter(|(_, disk)| !disk.read_only)
        .map(|(n, _)| n)
}

fn ensure(good: bool, field: &'static str, problem: impl FnOnce() -> String) -> Checked {
    if good {
        Ok(())
    } else {
        Err(ManifestError::Field {
            field,
            problem: problem(),
        })
    }
}
