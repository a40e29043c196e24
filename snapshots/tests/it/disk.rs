//! Layered disks, against a vector of bytes.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use proptest::prelude::*;
use snapshots::disk::{BLOCK_BYTES, BitmapError, DiskError, LayerFiles, LayeredDisk};

use crate::support::{bytes_of, each_flipped, file_of};

/// Not a whole number of blocks, so that the last one is short.
const BYTES: usize = 40 * BLOCK_BYTES as usize + 1536;

#[derive(Clone, Debug)]
enum Op {
    Write(usize, usize, u8),
    Zero(usize, usize),
    Read(usize, usize),
    /// Save the layer and go on as a clone of it.
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let range = || (0..BYTES, prop_oneof![1usize..600, 1usize..40_000]);
    prop_oneof![
        4 => (range(), 1u8..)
            .prop_map(|((at, len), byte)| Op::Write(at, len.min(BYTES - at), byte)),
        2 => range().prop_map(|(at, len)| Op::Zero(at, len.min(BYTES - at))),
        3 => range().prop_map(|(at, len)| Op::Read(at, len.min(BYTES - at))),
        1 => Just(Op::Reopen),
    ]
}

/// A sparse base: data in the first and third quarter.
fn base() -> (File, Vec<u8>) {
    let mut bytes = vec![0; BYTES];
    bytes[..BYTES / 4].fill(0xb1);
    bytes[BYTES / 2..BYTES * 3 / 4].fill(0xb2);
    let file = tempfile::tempfile().unwrap();
    file.set_len(BYTES as u64).unwrap();
    file.write_all_at(&bytes[..BYTES / 4], 0).unwrap();
    file.write_all_at(&bytes[BYTES / 2..BYTES * 3 / 4], BYTES as u64 / 2)
        .unwrap();
    (file, bytes)
}

fn empty() -> File {
    tempfile::tempfile().unwrap()
}

fn saved(disk: &LayeredDisk) -> LayerFiles {
    let files = LayerFiles {
        data: empty(),
        bitmap: empty(),
    };
    disk.save_layer(&files.data, &files.bitmap).unwrap();
    files
}

fn content(disk: &LayeredDisk) -> Vec<u8> {
    let mut bytes = vec![0; disk.len() as usize];
    disk.read_at(0, &mut bytes).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn behaves_like_a_vector_of_bytes(ops in prop::collection::vec(op(), 1..40)) {
        let (file, mut model) = base();
        let mut disk = LayeredDisk::open(file.try_clone().unwrap(), None, empty()).unwrap();
        for op in ops {
            match op {
                Op::Write(at, len, byte) => {
                    disk.write_at(at as u64, &vec![byte; len]).unwrap();
                    model[at..at + len].fill(byte);
                }
                Op::Zero(at, len) => {
                    disk.write_zeroes(at as u64, len as u64).unwrap();
                    model[at..at + len].fill(0);
                }
                Op::Read(at, len) => {
                    let mut buf = vec![0xaa; len];
                    disk.read_at(at as u64, &mut buf).unwrap();
                    prop_assert!(buf == model[at..at + len]);
                }
                Op::Reopen => {
                    let layer = saved(&disk);
                    let base = file.try_clone().unwrap();
                    disk = LayeredDisk::open(base, Some(layer), empty()).unwrap();
                }
            }
        }
        prop_assert!(content(&disk) == model);
        prop_assert!(bytes_of(&file) == base().1, "the base has changed");
    }
}

#[test]
fn clones_do_not_see_each_other() {
    let (file, _) = base();
    let disk = LayeredDisk::open(file.try_clone().unwrap(), None, empty()).unwrap();
    disk.write_at(5000, b"parent").unwrap();
    let layer = saved(&disk);
    let clone = || {
        let layer = LayerFiles {
            data: layer.data.try_clone().unwrap(),
            bitmap: layer.bitmap.try_clone().unwrap(),
        };
        LayeredDisk::open(file.try_clone().unwrap(), Some(layer), empty()).unwrap()
    };
    let (one, two) = (clone(), clone());
    one.write_at(5000, b"eldest").unwrap();
    two.write_zeroes(5000, 2).unwrap();
    assert_eq!(&content(&disk)[5000..5006], b"parent");
    assert_eq!(&content(&one)[5000..5006], b"eldest");
    assert_eq!(&content(&two)[5000..5006], b"\0\0rent");
}

#[test]
fn what_is_trimmed_takes_no_space() {
    let base = tempfile::tempfile().unwrap();
    base.set_len(8 << 30).unwrap();
    base.write_all_at(&[1; 8192], 1 << 30).unwrap();
    let (overlay, layer) = (
        empty(),
        LayerFiles {
            data: empty(),
            bitmap: empty(),
        },
    );
    let disk = LayeredDisk::open(base, None, overlay.try_clone().unwrap()).unwrap();
    disk.write_at(3 << 30, &vec![9; 4 << 20]).unwrap();
    disk.write_zeroes(0, 8 << 30).unwrap();
    assert_eq!(overlay.metadata().unwrap().blocks(), 0);
    disk.save_layer(&layer.data, &layer.bitmap).unwrap();
    assert_eq!(layer.data.metadata().unwrap().blocks(), 0);
    // Only the two blocks that hide the base's data.
    let bitmap = bytes_of(&layer.bitmap);
    assert_eq!(
        bitmap
            .iter()
            .skip(64 + 8)
            .map(|byte| byte.count_ones())
            .sum::<u32>(),
        2
    );
    let mut buf = [7; 16];
    disk.read_at(1 << 30, &mut buf).unwrap();
    assert_eq!(buf, [0; 16]);
}

#[test]
fn ranges_beyond_the_end_are_refused() {
    let disk = LayeredDisk::open(base().0, None, empty()).unwrap();
    let end = BYTES as u64;
    for (offset, len) in [(end, 1), (end - 1, 2), (u64::MAX, 2), (0, BYTES + 1)] {
        let out = |result| matches!(result, Err(DiskError::OutOfRange { .. }));
        assert!(out(disk.read_at(offset, &mut vec![0; len])));
        assert!(out(disk.write_at(offset, &vec![0; len])));
        assert!(out(disk.write_zeroes(offset, len as u64)));
    }
    disk.write_at(end, &[]).unwrap();
    disk.write_zeroes(end, 0).unwrap();
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let open = LayeredDisk::open;
    assert!(matches!(
        open(empty(), None, empty()),
        Err(DiskError::BaseBytes { found: 0 })
    ));
    assert!(matches!(
        open(base().0, None, file_of(b"x")),
        Err(DiskError::NotEmpty { .. })
    ));

    let disk = open(base().0, None, empty()).unwrap();
    let other = file_of(&[1; 8192]);
    let result = open(other, Some(saved(&disk)), empty());
    assert!(matches!(
        result,
        Err(DiskError::LayerOfOtherDisk { base: 8192, .. })
    ));

    let layer = saved(&disk);
    layer.data.set_len(4096).unwrap();
    let result = open(base().0, Some(layer), empty());
    assert!(matches!(
        result,
        Err(DiskError::LayerBytes { found: 4096, .. })
    ));

    let used = saved(&disk);
    let result = disk.save_layer(&used.data, &used.bitmap);
    assert!(matches!(result, Err(DiskError::NotEmpty { .. })));
}

/// Opens the base with a bitmap file of these bytes.
fn open_bitmap(bytes: &[u8]) -> Result<LayeredDisk, DiskError> {
    let data = empty();
    data.set_len((BYTES as u64).next_multiple_of(BLOCK_BYTES))
        .unwrap();
    LayeredDisk::open(
        base().0,
        Some(LayerFiles {
            data,
            bitmap: file_of(bytes),
        }),
        empty(),
    )
}

#[test]
fn a_damaged_bitmap_is_refused() {
    let disk = LayeredDisk::open(base().0, None, empty()).unwrap();
    disk.write_at(5000, b"x").unwrap();
    let bytes = bytes_of(&saved(&disk).bitmap);
    assert!(open_bitmap(&bytes).is_ok());
    for len in (0..bytes.len()).filter(|len| *len < 200 || len % 97 == 0) {
        assert!(
            matches!(open_bitmap(&bytes[..len]), Err(DiskError::Bitmap(_))),
            "{len}"
        );
    }
    // The header and the leaf's beginning; the same digest covers the rest.
    each_flipped(&bytes[..100], |position, head| {
        let whole = [head, &bytes[100..]].concat();
        assert!(
            matches!(open_bitmap(&whole), Err(DiskError::Bitmap(_))),
            "byte {position}"
        );
    });
}

#[test]
fn bits_beyond_the_end_are_refused() {
    let mut bytes = bytes_of(&saved(&LayeredDisk::open(base().0, None, empty()).unwrap()).bitmap);
    assert_eq!(bytes.len(), 64);
    let mut with_leaf = |number: u64, bit: usize| {
        bytes.truncate(24);
        bytes.extend(1u64.to_le_bytes());
        let mut leaf = [0; 4096];
        leaf[bit / 8] |= 1 << (bit % 8);
        let record = [&number.to_le_bytes()[..], &leaf].concat();
        let digest = snapshots::Digest::of(&[&bytes[..], &record].concat());
        bytes.extend(digest.as_bytes());
        bytes.extend(record);
        open_bitmap(&bytes).map(drop)
    };
    assert!(with_leaf(0, 40).is_ok());
    for (number, bit) in [(0, 41), (1, 0), (u64::MAX, 0)] {
        let result = with_leaf(number, bit);
        assert!(
            matches!(result, Err(DiskError::Bitmap(BitmapError::Leaf { .. }))),
            "{number} {bit}: {result:?}"
        );
    }
}
