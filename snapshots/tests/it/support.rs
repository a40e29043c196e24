//! Small things to build snapshots from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use snapshots::SnapshotId;
use snapshots::manifest::{Cpu, Description, Disk, Image, Machine};
use snapshots::memory::MemorySource;

pub const MEMORY_BYTES: u64 = 256 << 10;
pub const DISK_BYTES: u64 = 1 << 20;

/// Memory in a vector.
pub struct Vector(pub Vec<u8>);

impl MemorySource for Vector {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        buf.copy_from_slice(&self.0[start..start + buf.len()]);
        Ok(())
    }
}

/// A file with these bytes and no name.
pub fn file_of(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

/// All bytes of a file.
pub fn bytes_of(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// An id that ends with `n`.
pub fn id(n: u32) -> SnapshotId {
    SnapshotId::new(format!("snp_{n:026}")).unwrap()
}

/// A machine of [`MEMORY_BYTES`] with a read-only and a writable disk.
pub fn description(created_at_unix_ms: u64) -> Description {
    Description {
        organisation: Some("acme".into()),
        labels: BTreeMap::from([("team".into(), "ice \"q\" é".into())]),
        created_at_unix_ms,
        sandbox_id: "sbx_1".into(),
        paused_nanos: 7,
        machine: Machine {
            vcpus: 2,
            memory_bytes: MEMORY_BYTES,
            disks: vec![
                Disk {
                    bytes: 4096,
                    read_only: true,
                },
                Disk {
                    bytes: DISK_BYTES,
                    read_only: false,
                },
            ],
            network: true,
        },
        image: Image {
            name: "default".into(),
            id: "0a".repeat(32),
        },
        cpu: Cpu {
            vendor: "AuthenticAMD".into(),
            features: vec!["avx2".into(), "sse4_2".into()],
        },
        agent_version: "0.1.0".into(),
        vmm_version: "0.1.0".into(),
    }
}

/// Calls `check` with every copy of `bytes` that has one bit flipped.
pub fn each_flipped(bytes: &[u8], mut check: impl FnMut(usize, &[u8])) {
    let mut bytes = bytes.to_vec();
    for position in 0..bytes.len() {
        for bit in 0..8 {
            bytes[position] ^= 1 << bit;
            check(position, &bytes);
            bytes[position] ^= 1 << bit;
        }
    }
}
