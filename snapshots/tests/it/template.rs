//! Templates.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use snapshots::memory::{MemoryError, MemoryReader, WriteOptions, write_memory};
use snapshots::template::{Template, TemplateError};

use crate::support::{Vector, bytes_of, file_of};

const MIB: usize = 1 << 20;

/// 8 MiB with content in the second and sixth, and one page at the very end.
fn memory() -> Vec<u8> {
    let mut bytes = vec![0; 8 * MIB];
    for (n, byte) in bytes[MIB..2 * MIB].iter_mut().enumerate() {
        *byte = (n / 7) as u8;
    }
    bytes[5 * MIB..6 * MIB].fill(3);
    bytes[8 * MIB - 1] = 1;
    bytes
}

fn written(bytes: Vec<u8>) -> File {
    let file = file_of(&[]);
    write_memory(&file, &Vector(bytes), &WriteOptions::default()).unwrap();
    file
}

#[test]
fn holds_the_memory_and_nothing_for_zeros() {
    let reader = MemoryReader::open(written(memory())).unwrap();
    assert_eq!(reader.present_bytes(), 2 * MIB as u64 + 4096);
    for threads in [1, 2, 5] {
        let template = Template::load(&reader, std::num::NonZeroUsize::new(threads)).unwrap();
        assert_eq!(template.memory_bytes(), 8 * MIB as u64);
        let file = File::from(template.as_fd().try_clone_to_owned().unwrap());
        // Before it is read as a whole, which may fill holes.
        let resident = template.resident_bytes().unwrap();
        assert!(resident <= 3 * MIB as u64, "{resident}");
        assert!(bytes_of(&file) == memory());
    }
}

#[test]
fn nobody_can_change_it() {
    let reader = MemoryReader::open(written(memory())).unwrap();
    let template = Template::load(&reader, None).unwrap();
    let file = File::from(template.as_fd().try_clone_to_owned().unwrap());
    assert!(file.write_all_at(b"x", 0).is_err());
    assert!(file.set_len(1).is_err());
    assert!(file.set_len(9 * MIB as u64).is_err());
}

#[test]
fn a_damaged_frame_is_an_error() {
    let mut bytes = bytes_of(&written(memory()));
    bytes[112 + 40] ^= 1;
    let reader = MemoryReader::open(file_of(&bytes)).unwrap();
    let result = Template::load(&reader, None);
    assert!(
        matches!(
            result,
            Err(TemplateError::Memory(MemoryError::FrameChecksum { .. }))
        ),
        "{result:?}"
    );
}
