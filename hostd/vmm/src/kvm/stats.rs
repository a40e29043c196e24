//! KVM's own counters of a vCPU, through `KVM_GET_STATS_FD`.
//!
//! ```text
//! header:      flags u32 | name_size u32 | num_desc u32 | id_offset u32 | desc_offset u32 | data_offset u32
//! descriptor:  flags u32 | exponent i16 | size u16 | offset u32 | bucket_size u32 | name [u8; name_size]
//! data:        u64 at data_offset + descriptor.offset, `size` of them
//! ```
#![expect(unsafe_code, reason = "kvm-ioctls does not wrap KVM_GET_STATS_FD")]

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;

use vmm_sys_util::ioctl::ioctl;
use vmm_sys_util::ioctl_io_nr;

use super::{Error, Vcpu};

ioctl_io_nr!(KVM_GET_STATS_FD, kvm_bindings::KVMIO, 0xce);

const HEADER_BYTES: usize = 24;
const DESCRIPTOR_BYTES: usize = 16;
/// KVM's own constant; a kernel that says more is not believed.
const MAX_NAME_BYTES: usize = 256;
/// Linux 6.18 has about 50 counters for each vCPU.
const MAX_COUNTERS: usize = 1024;

/// The counters of one vCPU: opened once, read as often as wanted.
#[derive(Debug)]
pub struct VcpuStats {
    file: File,
    /// Read when first asked for: a restore has better things to do.
    counters: OnceCell<Vec<Counter>>,
}

#[derive(Debug)]
struct Counter {
    name: String,
    position: u64,
}

impl VcpuStats {
    /// Opens the counters of `vcpu`, which may be running.
    ///
    /// # Errors
    ///
    /// When KVM has no such interface (before Linux 5.14).
    pub fn open(vcpu: &Vcpu) -> Result<Self, Error> {
        // SAFETY: the call takes no argument and returns a new descriptor or -1.
        let fd = unsafe { ioctl(&vcpu.fd, KVM_GET_STATS_FD()) };
        if fd < 0 {
            return Err(failed(io::Error::last_os_error()));
        }
        // SAFETY: the descriptor is new and nobody else's.
        let file = unsafe { File::from_raw_fd(fd) };
        Ok(Self {
            file,
            counters: OnceCell::new(),
        })
    }

    /// Adds this vCPU's counters to `sums`, by name.
    ///
    /// # Errors
    ///
    /// When KVM answers nonsense or reading fails.
    pub fn add_to(&self, sums: &mut BTreeMap<String, u64>) -> Result<(), Error> {
        if self.counters.get().is_none() {
            let counters = read_layout(&self.file).map_err(failed)?;
            let _ = self.counters.set(counters);
        }
        for counter in self.counters.get().into_iter().flatten() {
            let mut value = [0; 8];
            self.file
                .read_exact_at(&mut value, counter.position)
                .map_err(failed)?;
            let sum = sums.entry(counter.name.clone()).or_default();
            *sum = sum.saturating_add(u64::from_ne_bytes(value));
        }
        Ok(())
    }
}

fn read_layout(file: &File) -> io::Result<Vec<Counter>> {
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0)?;
    let field = |index: usize| read_u32(&header, index * 4);
    let (name_bytes, count) = (field(1)? as usize, field(2)? as usize);
    let (descriptors_at, data_at) = (u64::from(field(4)?), u64::from(field(5)?));
    if name_bytes > MAX_NAME_BYTES || count > MAX_COUNTERS {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let stride = DESCRIPTOR_BYTES + name_bytes;
    let mut descriptors = vec![0; stride * count];
    file.read_exact_at(&mut descriptors, descriptors_at)?;
    let mut counters = Vec::new();
    for descriptor in descriptors.chunks_exact(stride) {
        let values = read_u32(descriptor, 4)? >> 16;
        let name = descriptor.get(DESCRIPTOR_BYTES..).unwrap_or_default();
        let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
        // Histograms have many values; nobody asks for them here.
        if values == 1 {
            counters.push(Counter {
                name: String::from_utf8_lossy(name).into_owned(),
                position: data_at + u64::from(read_u32(descriptor, 8)?),
            });
        }
    }
    Ok(counters)
}

fn read_u32(bytes: &[u8], at: usize) -> io::Result<u32> {
    let field = bytes.get(at..).and_then(|rest| rest.first_chunk());
    field
        .map(|bytes| u32::from_ne_bytes(*bytes))
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn failed(source: io::Error) -> Error {
    Error::Call {
        call: "KVM_GET_STATS_FD",
        source,
    }
}
