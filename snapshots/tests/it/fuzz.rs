//! Bytes from strangers. Random bytes never get past a checksum, so each target takes both: the
//! bytes as they are, and the same bytes as the inside of a file whose checksums are right.
//!
//! `cargo test` runs each for a moment; `cargo bolero test` for as long as asked.

use bolero::check;
use snapshots::Digest;
use snapshots::disk::{BLOCK_BYTES, LayerFiles, LayeredDisk};
use snapshots::manifest::Manifest;
use snapshots::memory::{MemoryReader, PAGE_BYTES};
use snapshots::state::read_state;

use crate::manifest::sealed;
use crate::support::file_of;

const ITERATIONS: usize = 1500;

fn read_memory(bytes: &[u8]) {
    if let Ok(reader) = MemoryReader::open(file_of(bytes)) {
        let _ = reader.fingerprint();
        let _ = reader.for_each(None, |pages| {
            let packed: usize = pages.runs().map(|(_, run)| run.len()).sum();
            assert_eq!(packed, pages.present.count_ones() as usize * PAGE_BYTES);
            Ok::<_, snapshots::memory::MemoryError>(())
        });
    }
}

/// A memory file of one to eight chunks whose entries and frames are `inside`.
fn memory_file(pages: u8, entries: &[(u64, u8, bool)], frames: &[u8]) -> Vec<u8> {
    let memory_bytes = (u64::from(pages % 128) + 1) * PAGE_BYTES as u64;
    let chunks = memory_bytes.div_ceil(64 << 10) as usize;
    let (mut index, mut rest) = (Vec::new(), frames);
    for chunk in 0..chunks {
        let (present, len, good) = entries.get(chunk).copied().unwrap_or_default();
        let (frame, others) = rest.split_at(rest.len().min(len.into()));
        rest = others;
        // Often an entry that passes, so that zstd sees the frame.
        let present = if good {
            u64::from(!frame.is_empty())
        } else {
            present
        };
        index.extend(present.to_le_bytes());
        index.extend([0; 8]);
        index.extend((frame.len() as u32).to_le_bytes());
        let crc = if frame.is_empty() {
            0
        } else {
            crc32c::crc32c(frame)
        };
        index.extend(crc.to_le_bytes());
    }
    let frames = &frames[..frames.len() - rest.len()];
    let mut file = Vec::from(*b"thaw-mem");
    for field in [1u32, 0, 4096, 64 << 10] {
        file.extend(field.to_le_bytes());
    }
    file.extend(memory_bytes.to_le_bytes());
    file.extend((112 + frames.len() as u64 + index.len() as u64).to_le_bytes());
    file.extend(Digest::of(&index).as_bytes());
    file.extend([0; 36]);
    file.extend(crc32c::crc32c(&file).to_le_bytes());
    file.extend(frames);
    file.extend(index);
    file
}

#[test]
fn memory_bytes() {
    check!().with_iterations(ITERATIONS).for_each(read_memory);
}

#[test]
fn memory_index_and_frames() {
    check!()
        .with_iterations(ITERATIONS)
        .with_type::<(u8, Vec<(u64, u8, bool)>, Vec<u8>)>()
        .for_each(|(pages, entries, frames)| read_memory(&memory_file(*pages, entries, frames)));
}

#[test]
fn memory_header() {
    check!()
        .with_iterations(ITERATIONS)
        .with_type::<([u8; 24], [u8; 40])>()
        .for_each(|(sizes, tail)| {
            let mut file = Vec::from(*b"thaw-mem\x01\0\0\0\0\0\0\0\0\x10\0\0");
            file.extend([0, 0, sizes[0] % 8, 0]);
            file.extend(&sizes[8..]);
            file.extend(Digest::of(tail).as_bytes());
            file.extend([0; 36]);
            file.extend(crc32c::crc32c(&file).to_le_bytes());
            file.extend(tail);
            read_memory(&file);
        });
}

#[test]
fn manifest_bytes() {
    check!()
        .with_iterations(ITERATIONS)
        .for_each(|bytes: &[u8]| {
            let _ = Manifest::decode(bytes);
            let _ = Manifest::decode(&sealed(&String::from_utf8_lossy(bytes)));
        });
}

/// A good manifest with one stretch of its JSON replaced.
#[test]
fn manifest_fields() {
    let good = serde_json::to_string(&crate::manifest::manifest()).unwrap();
    check!()
        .with_iterations(ITERATIONS)
        .with_type::<(u16, u8, Vec<u8>)>()
        .for_each(|(at, len, new)| {
            let mut content = good.clone().into_bytes();
            let start = usize::from(*at) % content.len();
            let end = (start + usize::from(*len)).min(content.len());
            content.splice(start..end, new.iter().copied());
            let content = String::from_utf8_lossy(&content);
            if let Ok(manifest) = Manifest::decode(&sealed(&content)) {
                assert!(manifest.encode().is_ok());
            }
        });
}

fn open_bitmap(disk_bytes: u64, bitmap: &[u8]) {
    let (base, data) = (file_of(&[]), file_of(&[]));
    base.set_len(disk_bytes).unwrap();
    data.set_len(disk_bytes.next_multiple_of(BLOCK_BYTES))
        .unwrap();
    let layer = LayerFiles {
        data,
        bitmap: file_of(bitmap),
    };
    if let Ok(disk) = LayeredDisk::open(base, Some(layer), file_of(&[])) {
        disk.read_at(0, &mut [0; 1]).unwrap();
        disk.save_layer(&file_of(&[]), &file_of(&[])).unwrap();
    }
}

#[test]
fn bitmap_bytes() {
    check!()
        .with_iterations(ITERATIONS)
        .for_each(|bytes: &[u8]| open_bitmap(4096, bytes));
}

#[test]
fn bitmap_leaves() {
    type Leaf = (u8, u16, u8);
    check!()
        .with_iterations(ITERATIONS)
        .with_type::<(u32, Vec<Leaf>, bool)>()
        .for_each(|(disk_bytes, leaves, lie)| {
            let disk_bytes = u64::from(*disk_bytes) + 1;
            let mut file = Vec::from(*b"thaw-map\x01\0\0\0\0\x10\0\0");
            file.extend(disk_bytes.to_le_bytes());
            file.extend((leaves.len() as u64 + u64::from(*lie)).to_le_bytes());
            let mut records = Vec::new();
            for (number, at, byte) in leaves {
                let mut leaf = vec![0; 4096];
                leaf[usize::from(*at) % 4096] = *byte;
                records.extend(u64::from(*number).to_le_bytes());
                records.extend(leaf);
            }
            let digest = Digest::of(&[&file[..], &records].concat());
            file.extend(digest.as_bytes());
            file.extend(records);
            open_bitmap(disk_bytes, &file);
        });
}

#[test]
fn state_bytes() {
    check!()
        .with_iterations(ITERATIONS)
        .for_each(|bytes: &[u8]| {
            let _ = read_state(&file_of(bytes));
            let mut file = Vec::from(*b"thaw-sta\x01\0\0\0");
            file.extend((bytes.len() as u32).to_le_bytes());
            let digest = Digest::of(&[&file[..], bytes].concat());
            file.extend(digest.as_bytes());
            file.extend(bytes);
            assert_eq!(read_state(&file_of(&file)).unwrap(), bytes);
        });
}
