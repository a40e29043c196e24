//! `manifest.json`: what a snapshot is, and what its files must be.
//!
//! ```text
//! {"blake3":"<64 digits>","manifest":{
//!   "format_version": 2,
//!   …
//! }}
//! ```
//!
//! The file is JSON for people and `jq`, but its first and last bytes are fixed, and the digest is
//! of the very bytes of the inner object: any flipped bit of the file is found before JSON is
//! parsed. Then comes the version, so that a later one is named as such, and only then the fields:
//! unknown ones are refused and every value is checked. At most [`MAX_MANIFEST_BYTES`].

mod envelope;
mod validate;

pub use envelope::{MAX_MANIFEST_BYTES, ManifestError};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, SnapshotId};

/// The version that this code writes and the only one it reads.
pub const FORMAT_VERSION: u32 = 2;

/// All that `manifest.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The snapshot's id, also the name of its directory.
    pub id: SnapshotId,
    /// The snapshot whose memory this one builds on; always `None` in this version.
    pub parent: Option<SnapshotId>,
    /// What the creator says about it.
    pub description: Description,
    /// Sizes and digests of the other files, as the store measured them.
    pub files: Files,
}

/// What the creator of a snapshot says about it. The store adds the rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Whose it is, in the words of the host that made it; absent: everybody's there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<String>,
    /// Free text for the user: at most 64 pairs, keys 1..=63 bytes, values up to 255.
    pub labels: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    pub created_at_unix_ms: u64,
    /// The sandbox it was taken of.
    pub sandbox_id: String,
    /// How long that sandbox stood still.
    pub paused_nanos: u64,
    /// The machine that a restore has to build.
    pub machine: Machine,
    /// The image whose kernel and disks it uses.
    pub image: Image,
    /// The CPU that the guest has seen.
    pub cpu: Cpu,
    /// The agent that is inside.
    pub agent_version: String,
    /// The vmm that wrote memory and state.
    pub vmm_version: String,
}

/// The shape of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// 1..=8.
    pub vcpus: u32,
    /// Guest memory in bytes, a multiple of 2 MiB.
    pub memory_bytes: u64,
    /// In PCI order: `/dev/vda`, `/dev/vdb`, …; at most 8.
    pub disks: Vec<Disk>,
    /// Whether it has a network card.
    pub network: bool,
}

/// One disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Length in bytes.
    pub bytes: u64,
    /// A writable disk has a layer in the snapshot, a read-only one has not.
    pub read_only: bool,
}

/// Which image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// For people.
    pub name: String,
    /// SHA-256 of its `image.json`, 64 lower-case hexadecimal digits.
    pub id: String,
}

/// Which CPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpu {
    /// Like `AuthenticAMD`.
    pub vendor: String,
    /// Features that the guest may rely on, sorted, each once; at most 4096.
    pub features: Vec<String>,
}

/// The other files of the directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// `memory`.
    pub memory: MemoryRecord,
    /// `state`.
    pub state: FileRecord,
    /// `disk-<n>.layer` and `disk-<n>.bitmap`, one for each writable disk, ascending.
    pub layers: Vec<LayerRecord>,
}

/// A file and the digest of all its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// Bytes.
    pub size: u64,
    /// Of all of them.
    pub blake3: Digest,
}

/// The memory file, which is too large to be read as a whole before it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryRecord {
    /// Bytes.
    pub size: u64,
    /// [`MemoryReader::fingerprint`](crate::memory::MemoryReader::fingerprint).
    pub fingerprint: Digest,
}

/// A disk's layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerRecord {
    /// Position of the disk in [`Machine::disks`].
    pub disk: u32,
    /// The bitmap file.
    pub bitmap: FileRecord,
    /// Bytes of the data file that are not zero, counted in blocks.
    pub stored_bytes: u64,
    /// Digest of those blocks, for [`verify_layers`](crate::store::Snapshot::verify_layers).
    pub blocks: Digest,
}

impl Manifest {
    /// Bytes on disk: memory and disk layers together.
    pub fn stored_bytes(&self) -> u64 {
        let layers = self.files.layers.iter().map(|layer| layer.stored_bytes);
        layers.fold(self.files.memory.size, u64::saturating_add)
    }
}
