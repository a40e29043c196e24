//! An open snapshot.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::{StoreError, directory::Directory, files};
use crate::disk::{self, BLOCK_BYTES, LayerFiles};
use crate::manifest::{FileRecord, LayerRecord, MAX_MANIFEST_BYTES, Manifest, ManifestError};
use crate::memory::MemoryReader;
use crate::state::read_state;
use crate::{SnapshotId, SnapshotName};

/// An open snapshot, which stays usable when it is deleted meanwhile. Manifest, sizes, state and bitmaps
/// have been checked. Each frame of memory is checked when it is read. The blocks of disk layers are
/// checked by [`verify_layers`](Snapshot::verify_layers) and by nobody else: call that once on every
/// host before a machine reads them.
#[derive(Debug)]
pub struct Snapshot {
    manifest: Manifest,
    name: Option<SnapshotName>,
    read_only: bool,
    memory: File,
    state: File,
    layers: Vec<LayerFiles>,
}

impl Snapshot {
    pub(super) fn open(
        directory: &Directory,
        id: &SnapshotId,
        name: Option<SnapshotName>,
    ) -> Result<Self, StoreError> {
        let path = directory.snapshot(id);
        let manifest = read_manifest(&path, id)?;
        let files = &manifest.files;
        let open = Opener { path: &path, id };
        Ok(Self {
            memory: open.sized(files::MEMORY, files.memory.size)?,
            state: open.checked(files::STATE, &files.state)?,
            layers: manifest
                .files
                .layers
                .iter()
                .map(|record| open.layer(record, &manifest))
                .collect::<Result<_, _>>()?,
            name,
            read_only: directory.is_read_only(),
            manifest,
        })
    }

    /// What it is.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its id.
    pub fn id(&self) -> &SnapshotId {
        &self.manifest.id
    }

    /// Its name when it was opened.
    pub fn name(&self) -> Option<&SnapshotName> {
        self.name.as_ref()
    }

    /// It lives in a read-only store.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Its memory; header and index are checked, and are those of the manifest.
    pub fn memory(&self) -> Result<MemoryReader, StoreError> {
        let id = || self.id().clone();
        let memory = MemoryReader::open(duplicate(&self.memory, files::MEMORY)?)
            .map_err(|source| StoreError::Memory { id: id(), source })?;
        if memory.fingerprint() != self.manifest.files.memory.fingerprint {
            return Err(StoreError::Digest {
                id: id(),
                file: files::MEMORY.into(),
            });
        }
        let (expected, found) = (
            self.manifest.description.machine.memory_bytes,
            memory.memory_bytes(),
        );
        if expected != found {
            let file = files::MEMORY.into();
            return Err(StoreError::Machine {
                id: id(),
                file,
                expected,
                found,
            });
        }
        Ok(memory)
    }

    /// Its state file, for [`read_state`].
    pub fn state(&self) -> Result<File, StoreError> {
        duplicate(&self.state, files::STATE)
    }

    /// The layer of the disk at position `disk`, for
    /// [`LayeredDisk::open`](crate::disk::LayeredDisk::open).
    pub fn layer(&self, disk: u32) -> Result<LayerFiles, StoreError> {
        let records = self.manifest.files.layers.iter();
        let (_, files) = records
            .zip(&self.layers)
            .find(|(record, _)| record.disk == disk)
            .ok_or_else(|| StoreError::NoLayer {
                id: self.id().clone(),
                disk,
            })?;
        Ok(LayerFiles {
            data: duplicate(&files.data, &files::layer(disk))?,
            bitmap: duplicate(&files.bitmap, &files::bitmap(disk))?,
        })
    }

    /// Reads and checks every byte; memory, on all cores.
    pub fn verify(&self) -> Result<(), StoreError> {
        let id = || self.id().clone();
        self.memory()?
            .verify()
            .map_err(|source| StoreError::Memory { id: id(), source })?;
        read_state(&self.state).map_err(|source| StoreError::State { id: id(), source })?;
        self.verify_layers()
    }

    /// Reads and checks every block of the disk layers that is not zero.
    ///
    /// Blocking, for as long as reading and hashing them takes one core.
    pub fn verify_layers(&self) -> Result<(), StoreError> {
        let mut layers = self.manifest.files.layers.iter().zip(&self.layers);
        layers.try_for_each(|(record, files)| self.verify_layer(record, files))
    }

    fn verify_layer(&self, record: &LayerRecord, layer: &LayerFiles) -> Result<(), StoreError> {
        let (id, disk) = (self.id().clone(), record.disk);
        match disk::measure(layer) {
            Ok(found)
                if found.blocks == record.blocks && found.stored_bytes == record.stored_bytes =>
            {
                Ok(())
            }
            Ok(_) => Err(StoreError::Digest {
                id,
                file: files::layer(disk),
            }),
            Err(source) => Err(StoreError::Disk { id, disk, source }),
        }
    }
}

/// Reads and checks the manifest in the snapshot's directory `path`.
pub(super) fn read_manifest(path: &Path, id: &SnapshotId) -> Result<Manifest, StoreError> {
    let fail = |source| StoreError::Manifest {
        id: id.clone(),
        source,
    };
    let path = path.join(files::MANIFEST);
    let file = files::open(&path)?;
    let found = file
        .metadata()
        .map_err(StoreError::io("read", &path))?
        .len();
    if found > MAX_MANIFEST_BYTES as u64 {
        return Err(fail(ManifestError::TooLong { found }));
    }
    let mut bytes = vec![0; found as usize];
    file.read_exact_at(&mut bytes, 0)
        .map_err(StoreError::io("read", &path))?;
    let manifest = Manifest::decode(&bytes).map_err(fail)?;
    if manifest.id != *id {
        return Err(StoreError::OtherSnapshot {
            id: id.clone(),
            found: manifest.id,
        });
    }
    Ok(manifest)
}

/// Opens the files of one snapshot.
struct Opener<'a> {
    path: &'a Path,
    id: &'a SnapshotId,
}

impl Opener<'_> {
    fn sized(&self, name: &str, expected: u64) -> Result<File, StoreError> {
        let path = self.path.join(name);
        let file = files::open(&path)?;
        let found = file
            .metadata()
            .map_err(StoreError::io("read", &path))?
            .len();
        if found != expected {
            let (id, file) = (self.id.clone(), name.to_owned());
            return Err(StoreError::Size {
                id,
                file,
                expected,
                found,
            });
        }
        Ok(file)
    }

    fn checked(&self, name: &str, record: &FileRecord) -> Result<File, StoreError> {
        let file = self.sized(name, record.size)?;
        let (_, digest) = files::digest(&file, record.size)
            .map_err(StoreError::io("read", &self.path.join(name)))?;
        if digest != record.blake3 {
            return Err(StoreError::Digest {
                id: self.id.clone(),
                file: name.to_owned(),
            });
        }
        Ok(file)
    }

    fn layer(&self, record: &LayerRecord, manifest: &Manifest) -> Result<LayerFiles, StoreError> {
        let disks = &manifest.description.machine.disks;
        let disk_bytes = disks.get(record.disk as usize).map_or(0, |disk| disk.bytes);
        let data_bytes = disk_bytes.div_ceil(BLOCK_BYTES) * BLOCK_BYTES;
        Ok(LayerFiles {
            data: self.sized(&files::layer(record.disk), data_bytes)?,
            bitmap: self.checked(&files::bitmap(record.disk), &record.bitmap)?,
        })
    }
}

fn duplicate(file: &File, name: &str) -> Result<File, StoreError> {
    file.try_clone()
        .map_err(StoreError::io("duplicate", Path::new(name)))
}
