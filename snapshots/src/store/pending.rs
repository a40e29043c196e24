//! A snapshot in the making.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Naming, Snapshot, Store, StoreError, files};
use crate::disk::{self, LayerFiles};
use crate::manifest::{
    Description, FORMAT_VERSION, FileRecord, Files, LayerRecord, Manifest, MemoryRecord,
};
use crate::memory::MemoryReader;
use crate::state::read_state;
use crate::{SnapshotId, SnapshotName};

/// A snapshot in the making. Dropped without [`commit`](Pending::commit) it is removed.
#[derive(Debug)]
pub struct Pending {
    store: Store,
    id: SnapshotId,
    path: PathBuf,
}

impl Pending {
    pub(super) fn new(store: Store, id: SnapshotId) -> Result<Self, StoreError> {
        let path = store.inner.writable.pending(&id);
        if store.directory_of(&id).is_some() || path.exists() {
            return Err(StoreError::Exists(id));
        }
        files::make_dir(&path)?;
        Ok(Self { store, id, path })
    }

    /// The id it was begun with.
    pub fn id(&self) -> &SnapshotId {
        &self.id
    }

    /// Creates `memory`, empty, for [`write_memory`](crate::memory::write_memory).
    pub fn memory(&self) -> Result<File, StoreError> {
        files::create(&self.path.join(files::MEMORY))
    }

    /// Creates `state`, empty, for [`write_state`](crate::state::write_state).
    pub fn state(&self) -> Result<File, StoreError> {
        files::create(&self.path.join(files::STATE))
    }

    /// Creates `disk-<n>.layer` and `disk-<n>.bitmap`, empty, for the disk at position `disk`.
    pub fn layer(&self, disk: u32) -> Result<LayerFiles, StoreError> {
        Ok(LayerFiles {
            data: files::create(&self.path.join(files::layer(disk)))?,
            bitmap: files::create(&self.path.join(files::bitmap(disk)))?,
        })
    }

    /// Checks and measures the files, writes the manifest, syncs everything, and makes the snapshot
    /// visible. Long: it reads the state and the disk layers and waits for the disk.
    ///
    /// A crash while it is being named can leave it without the name, never the name without a
    /// snapshot.
    pub fn commit(
        self,
        description: Description,
        naming: Option<&Naming>,
    ) -> Result<Snapshot, StoreError> {
        let manifest = self.measure(description)?;
        self.write_manifest(&manifest)?;
        self.sync(&manifest)?;

        let _changes = self.store.changes();
        if let Some(naming) = naming {
            self.store.check_name(&self.id, naming)?;
        }
        let directory = &self.store.inner.writable;
        files::rename(&self.path, &directory.snapshot(&self.id))?;
        let name = naming.map(|naming| &naming.name);
        self.publish(name).inspect_err(|_| {
            // Who is told that it failed must not find it later.
            if let Err(error) = directory
                .bury(&self.id)
                .and_then(|path| files::remove_dir(&path))
            {
                tracing::warn!(%error, id = %self.id, "a snapshot stays whose commit failed");
            }
        })?;
        Snapshot::open(directory, &self.id, name.cloned())
    }

    fn publish(&self, name: Option<&SnapshotName>) -> Result<(), StoreError> {
        let directory = &self.store.inner.writable;
        files::sync(directory.path())?;
        name.map_or(Ok(()), |name| directory.names().set(name, &self.id))
    }

    fn measure(&self, description: Description) -> Result<Manifest, StoreError> {
        let machine = &description.machine;
        let disks = machine
            .disks
            .iter()
            .zip(0..)
            .filter(|(disk, _)| !disk.read_only);
        let files = Files {
            memory: self.measure_memory(machine.memory_bytes)?,
            state: self.measure_state()?,
            layers: disks
                .map(|(disk, n)| self.measure_layer(n, disk.bytes))
                .collect::<Result<_, _>>()?,
        };
        let id = self.id.clone();
        Ok(Manifest {
            format_version: FORMAT_VERSION,
            id,
            parent: None,
            description,
            files,
        })
    }

    fn measure_memory(&self, expected: u64) -> Result<MemoryRecord, StoreError> {
        let file = files::open(&self.path.join(files::MEMORY))?;
        let memory = MemoryReader::open(file).map_err(|source| StoreError::Memory {
            id: self.id.clone(),
            source,
        })?;
        self.check_machine(files::MEMORY, expected, memory.memory_bytes())?;
        Ok(MemoryRecord {
            size: memory.file_bytes(),
            fingerprint: memory.fingerprint(),
        })
    }

    fn measure_state(&self) -> Result<FileRecord, StoreError> {
        let path = self.path.join(files::STATE);
        let file = files::open(&path)?;
        read_state(&file).map_err(|source| StoreError::State {
            id: self.id.clone(),
            source,
        })?;
        measure_file(&file, &path)
    }

    fn measure_layer(&self, disk: u32, expected: u64) -> Result<LayerRecord, StoreError> {
        let bitmap_path = self.path.join(files::bitmap(disk));
        let layer = LayerFiles {
            data: files::open(&self.path.join(files::layer(disk)))?,
            bitmap: files::open(&bitmap_path)?,
        };
        let measured = disk::measure(&layer).map_err(|source| StoreError::Disk {
            id: self.id.clone(),
            disk,
            source,
        })?;
        self.check_machine(&files::layer(disk), expected, measured.disk_bytes)?;
        Ok(LayerRecord {
            disk,
            bitmap: measure_file(&layer.bitmap, &bitmap_path)?,
            stored_bytes: measured.stored_bytes,
            blocks: measured.blocks,
        })
    }

    fn check_machine(&self, file: &str, expected: u64, found: u64) -> Result<(), StoreError> {
        if expected != found {
            let (id, file) = (self.id.clone(), file.to_owned());
            return Err(StoreError::Machine {
                id,
                file,
                expected,
                found,
            });
        }
        Ok(())
    }

    fn write_manifest(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let bytes = manifest.encode().map_err(|source| StoreError::Manifest {
            id: self.id.clone(),
            source,
        })?;
        let path = self.path.join(files::MANIFEST);
        let file = files::create(&path)?;
        file.write_all_at(&bytes, 0)
            .map_err(StoreError::io("write", &path))
    }

    fn sync(&self, manifest: &Manifest) -> Result<(), StoreError> {
        let layers = manifest.files.layers.iter();
        let layers = layers.flat_map(|layer| [files::layer(layer.disk), files::bitmap(layer.disk)]);
        let others = [files::MANIFEST, files::MEMORY, files::STATE].map(str::to_owned);
        for file in layers.chain(others) {
            files::sync(&self.path.join(file))?;
        }
        files::sync(&self.path)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // After a commit there is nothing under this name any more.
        if let Err(error) = files::remove_dir(&self.path) {
            tracing::warn!(%error, "an unfinished snapshot stays until the next start");
        }
    }
}

fn measure_file(file: &File, path: &Path) -> Result<FileRecord, StoreError> {
    let (size, blake3) = files::digest(file, u64::MAX).map_err(StoreError::io("read", path))?;
    Ok(FileRecord { size, blake3 })
}
