//! Disks: the snapshots crate knows the layers, the devices crate wants a backend.

use std::io;
use std::sync::Arc;

use devices::virtio::block::{BlockBackend, FileBackend};
use snapshots::disk::{DiskError, LayeredDisk};

use crate::config::DiskConfig;

/// The disks of a machine, as far as saving it needs them.
#[derive(Debug, Default)]
pub struct Disks {
    /// The writable ones, in order.
    writable: Vec<Arc<LayeredDisk>>,
}

impl Disks {
    /// Opens a disk and remembers it if it can be written to.
    ///
    /// # Errors
    ///
    /// When its files are not what they should be.
    pub fn open(&mut self, config: DiskConfig) -> Result<Box<dyn BlockBackend>, DiskError> {
        match config {
            DiskConfig::ReadOnly(file) => match FileBackend::new(file, true) {
                Ok(backend) => Ok(Box::new(backend)),
                Err(source) => Err(DiskError::Io {
                    action: "stat the disk",
                    source,
                }),
            },
            DiskConfig::Writable {
                base,
                layer,
                overlay,
            } => {
                let disk = Arc::new(LayeredDisk::open(base, layer, overlay)?);
                self.writable.push(Arc::clone(&disk));
                Ok(Box::new(LayeredBackend(disk)))
            }
        }
    }

    /// The disks that a snapshot has a layer of, in order.
    pub fn writable(&self) -> &[Arc<LayeredDisk>] {
        &self.writable
    }
}

/// A layered disk as the block device sees it.
struct LayeredBackend(Arc<LayeredDisk>);

impl BlockBackend for LayeredBackend {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_only(&self) -> bool {
        false
    }

    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, data).map_err(io::Error::other)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data).map_err(io::Error::other)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(io::Error::other)
    }

    fn can_discard(&self) -> bool {
        true
    }

    fn discard(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeroes(offset, len)
    }

    fn write_zeroes(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.0.write_zeroes(offset, len).map_err(io::Error::other)
    }
}
