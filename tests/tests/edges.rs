//! Keeps the dependency edges of the house: which crate may use which.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::MetadataCommand;

/// The crate, and what of this repository it may use. A crate that is not here may not be.
const ALLOWED: &[(&str, &[&str])] = &[
    ("protocol", &[]),
    ("guest-agent", &["protocol", "sandbox-rpc", "sandbox-sftp"]),
    ("sandbox-rpc", &[]),
    ("sandbox-sftp", &[]),
    ("snapshots", &["protocol"]),
    ("devices", &[]),
    ("vmm", &["devices", "snapshots", "protocol"]),
    ("net", &[]),
    ("volumes", &[]),
    ("egress", &[]),
    // It spawns the vmm and never links KVM or devices.
    (
        "hostd",
        &["protocol", "snapshots", "net", "volumes", "egress"],
    ),
    ("images", &["protocol"]),
    ("tests", &["protocol", "images", "snapshots"]),
    ("bench-egress", &["egress", "tests"]),
    ("fake-agent", &["protocol"]),
    ("xtask", &["images", "protocol"]),
];

/// Crates that bring KVM or machine emulation; only these members may use them.
const MACHINE_CRATES: &[&str] = &[
    "kvm-ioctls",
    "kvm-bindings",
    "linux-loader",
    "virtio-queue",
    "vm-memory",
    "event-manager",
];
const MACHINE_MEMBERS: &[&str] = &["vmm", "devices"];

/// What makes a synchronous process asynchronous; the vmm has none of it.
const ASYNC_CRATES: &[&str] = &["tokio", "tonic", "hyper"];

/// Each member with the names of all that it depends on directly, for building and testing.
fn members() -> BTreeMap<String, BTreeSet<String>> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .unwrap();
    let dependencies = |package: &cargo_metadata::Package| {
        package
            .dependencies
            .iter()
            .map(|dependency| dependency.name.clone())
            .collect()
    };
    metadata
        .packages
        .iter()
        .map(|package| (package.name.to_string(), dependencies(package)))
        .collect()
}

#[test]
fn members_use_only_what_they_may() {
    let members = members();
    for (name, dependencies) in &members {
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(member, _)| member == name)
            .unwrap_or_else(|| panic!("{name} has no line in ALLOWED"));
        for used in dependencies
            .iter()
            .filter(|used| members.contains_key(*used))
        {
            assert!(
                allowed.contains(&used.as_str()),
                "{name} may not use {used}"
            );
        }
    }
}

#[test]
fn only_the_machine_uses_machine_crates() {
    for (name, dependencies) in members() {
        if MACHINE_MEMBERS.contains(&name.as_str()) {
            continue;
        }
        for machine in MACHINE_CRATES {
            assert!(
                !dependencies.contains(*machine),
                "{name} may not use {machine}"
            );
        }
    }
}

#[test]
fn the_vmm_is_synchronous() {
    for (name, dependencies) in members() {
        if !["vmm", "devices", "snapshots"].contains(&name.as_str()) {
            continue;
        }
        for asynchronous in ASYNC_CRATES {
            assert!(
                !dependencies.contains(*asynchronous),
                "{name} may not use {asynchronous}"
            );
        }
    }
}
