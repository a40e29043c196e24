//! One request: a header that the guest wrote, data in either direction, and a status byte.
//!
//! ```text
//!   readable:  type u32 | reserved u32 | sector u64 | data to write ...
//!   writable:  data read ... | status u8
//! ```
//!
//! Where one buffer ends and the next begins means nothing.

use std::io::{self, Read, Write};

use thiserror::Error;
use virtio_queue::{Reader, Writer};
use vm_memory::GuestMemoryMmap;

use super::config::{MAX_RANGE_SECTORS, MAX_REQUEST_BYTES};
use super::{BlockBackend, SECTOR};
use crate::virtio::Chain;

const HEADER_BYTES: usize = 16;
const T_IN: u32 = 0;
const T_OUT: u32 = 1;
const T_FLUSH: u32 = 4;
const T_GET_ID: u32 = 8;
const T_DISCARD: u32 = 11;
const T_WRITE_ZEROES: u32 = 13;

const S_OK: u8 = 0;
const S_IOERR: u8 = 1;
const S_UNSUPP: u8 = 2;

/// A chain that has no room for an answer.
#[derive(Debug, Error)]
pub enum RequestError {
    /// Buffers that are not in guest memory.
    #[error("buffers")]
    Buffers(#[from] virtio_queue::Error),
    /// No byte for the status.
    #[error("no room for a status")]
    NoStatus,
}

/// What requests are executed on.
pub struct Disk<'d> {
    pub sectors: u64,
    pub backend: &'d mut dyn BlockBackend,
    pub id: &'d [u8],
    pub bounce: &'d mut [u8],
}

/// Why a request fails, as the guest is told.
enum Failure {
    Io(io::Error),
    Unsupported,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// A request whose buffers have been found, and nothing else.
pub struct Request<'m> {
    reader: Reader<'m>,
    writer: Writer<'m>,
    status: Writer<'m>,
}

impl<'m> Request<'m> {
    /// Finds the buffers of a chain.
    ///
    /// # Errors
    /// When the chain cannot even be answered.
    pub fn parse(memory: &'m GuestMemoryMmap, chain: Chain<'m>) -> Result<Self, RequestError> {
        let reader = Reader::new(memory, chain.clone())?;
        let mut writer = Writer::new(memory, chain)?;
        let room = writer.available_bytes().checked_sub(1);
        let status = writer.split_at(room.ok_or(RequestError::NoStatus)?)?;
        Ok(Self {
            reader,
            writer,
            status,
        })
    }

    /// Does what the request asks for. Returns how many bytes of the chain were written.
    pub fn execute(mut self, disk: &mut Disk<'_>) -> u32 {
        let status = match self.perform(disk) {
            Ok(()) => S_OK,
            Err(Failure::Unsupported) => S_UNSUPP,
            Err(Failure::Io(error)) => {
                tracing::debug!(%error, "disk request");
                S_IOERR
            }
        };
        // The byte is there: parsing has split it off.
        let written = self.status.write(&[status]).unwrap_or(0);
        (self.writer.bytes_written() + written) as u32
    }

    fn perform(&mut self, disk: &mut Disk<'_>) -> Result<(), Failure> {
        let mut header = [0; HEADER_BYTES];
        self.reader.read_exact(&mut header)?;
        let [t0, t1, t2, t3, _, _, _, _, sector @ ..] = header;
        let sector = u64::from_le_bytes(sector);
        match u32::from_le_bytes([t0, t1, t2, t3]) {
            T_IN => self.read(disk, sector),
            T_OUT => self.write(disk, sector),
            T_FLUSH => Ok(disk.backend.flush()?),
            T_GET_ID => Ok(self.writer.write_all(disk.id)?),
            T_DISCARD => self.on_range(disk, |backend, at, len| backend.discard(at, len)),
            T_WRITE_ZEROES => self.on_range(disk, |backend, at, len| backend.write_zeroes(at, len)),
            _ => Err(Failure::Unsupported),
        }
    }

    fn read(&mut self, disk: &mut Disk<'_>, sector: u64) -> Result<(), Failure> {
        let mut left = self.writer.available_bytes();
        let mut offset = disk.checked(sector, left)?;
        while left > 0 {
            let len = left.min(disk.bounce.len());
            let piece = disk.bounce.get_mut(..len).unwrap_or_default();
            disk.backend.read_at(offset, piece)?;
            self.writer.write_all(piece)?;
            offset += len as u64;
            left -= len;
        }
        Ok(())
    }

    fn write(&mut self, disk: &mut Disk<'_>, sector: u64) -> Result<(), Failure> {
        disk.check_writable()?;
        let mut left = self.reader.available_bytes();
        let mut offset = disk.checked(sector, left)?;
        while left > 0 {
            let len = left.min(disk.bounce.len());
            let piece = disk.bounce.get_mut(..len).unwrap_or_default();
            self.reader.read_exact(piece)?;
            disk.backend.write_at(offset, piece)?;
            offset += len as u64;
            left -= len;
        }
        Ok(())
    }

    /// Discard and write-zeroes: the data is one range, `sector u64 | sectors u32 | flags u32`.
    /// The only flag is permission to deallocate, which needs no other treatment.
    fn on_range(
        &mut self,
        disk: &mut Disk<'_>,
        action: fn(&mut dyn BlockBackend, u64, u64) -> io::Result<()>,
    ) -> Result<(), Failure> {
        disk.check_writable()?;
        let (mut sector, mut sectors) = ([0; 8], [0; 4]);
        self.reader.read_exact(&mut sector)?;
        self.reader.read_exact(&mut sectors)?;
        let sectors = u32::from_le_bytes(sectors);
        if !disk.backend.can_discard() || sectors > MAX_RANGE_SECTORS {
            return Err(Failure::Unsupported);
        }
        let len = u64::from(sectors) * SECTOR;
        let offset = disk.locate(u64::from_le_bytes(sector), len)?;
        Ok(action(disk.backend, offset, len)?)
    }
}

impl Disk<'_> {
    /// The byte offset of a transfer of whole sectors within the disk and the cap.
    fn checked(&self, sector: u64, len: usize) -> io::Result<u64> {
        if len > MAX_REQUEST_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.locate(sector, len as u64)
    }

    fn locate(&self, sector: u64, len: u64) -> io::Result<u64> {
        let end = sector.checked_add(len / SECTOR);
        if !len.is_multiple_of(SECTOR) || end.is_none_or(|end| end > self.sectors) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(sector * SECTOR)
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.backend.read_only() {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok(())
    }
}
