//! Thaw's snapshots: what a saved machine looks like on disk, and how it comes back.
//!
//! | module | what it is | who uses it |
//! |---|---|---|
//! | [`memory`] | guest memory in independent zstd frames | vmm writes, hostd reads |
//! | [`template`] | a sealed memfd with a snapshot's memory, shared by its clones | hostd |
//! | [`state`] | a checked frame around the vmm's device and vCPU state | vmm |
//! | [`disk`] | the copy-on-write disk: base, snapshot layer, own overlay | vmm |
//! | [`manifest`] | `manifest.json`: what the snapshot is, and digests of its files | hostd |
//! | [`store`] | directories of snapshots: begin, commit, find, list, delete | hostd |
//!
//! May depend on: nothing of this repository. Never on KVM and never on devices, and no
//! async runtime: the vmm links this crate.
//!
//! **Trust.** Bytes that are read here may be damaged: every size is capped, every byte of every
//! file is covered by a checksum, and damage is a typed error. Reading checks the checksum, with one
//! exception: the blocks of a disk layer are read one at a time and have one digest in all, which
//! [`verify_layers`](store::Snapshot::verify_layers) checks. The checksums find accidents. They
//! do not stop somebody who may write the files and computes new ones.

pub mod disk;
pub mod manifest;
pub mod memory;
pub mod state;
pub mod store;
pub mod template;

mod bytes;
mod digest;
mod id;
mod threads;
mod zero;

pub use digest::Digest;
pub use id::{IdError, SnapshotId, SnapshotName};
