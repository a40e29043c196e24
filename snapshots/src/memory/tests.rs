//! What is written comes back, and damage does not.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::writer::write_chunks;
use super::*;

/// Memory in a vector, and what it says about its data.
struct Vector {
    bytes: Vec<u8>,
    /// Ascending ranges that hold all data; `None`: the default answer.
    data: Option<Vec<Range<u64>>>,
}

impl MemorySource for Vector {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        buf.copy_from_slice(&self.bytes[start..start + buf.len()]);
        Ok(())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        let Some(data) = &self.data else {
            return Ok((offset < self.len()).then_some(offset..self.len()));
        };
        let next = data.iter().find(|range| range.end > offset);
        Ok(next.map(|range| range.start.max(offset)..range.end))
    }
}

#[derive(Clone, Debug)]
enum Page {
    Zero,
    Byte(u8),
    /// One byte somewhere: the hardest to see.
    Dot(u16),
    Noise(u64),
}

impl Page {
    fn any() -> impl Strategy<Value = Self> {
        prop_oneof![
            4 => Just(Self::Zero),
            1 => any::<u8>().prop_map(Self::Byte),
            1 => (0..PAGE_BYTES as u16).prop_map(Self::Dot),
            2 => any::<u64>().prop_map(Self::Noise),
        ]
    }

    fn fill(&self, buf: &mut [u8]) {
        match self {
            Self::Zero => {}
            Self::Byte(byte) => buf.fill(*byte),
            Self::Dot(at) => buf[*at as usize] = 1,
            Self::Noise(seed) => rand::RngCore::fill_bytes(
                &mut <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(*seed),
                buf,
            ),
        }
    }
}

/// Runs of equal pages, so that whole chunks are zero now and then.
fn memory() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec((Page::any(), 1usize..40), 1..40).prop_map(|runs| {
        let pages = runs
            .into_iter()
            .flat_map(|(page, count)| std::iter::repeat_n(page, count));
        let mut bytes = Vec::new();
        for page in pages {
            let start = bytes.len();
            bytes.resize(start + PAGE_BYTES, 0);
            page.fill(&mut bytes[start..]);
        }
        bytes
    })
}

/// Exactly the non-zero bytes' ranges: they begin and end anywhere in a page.
fn data_of(bytes: &[u8]) -> Vec<Range<u64>> {
    let pages = bytes.chunks(PAGE_BYTES).zip((0u64..).step_by(PAGE_BYTES));
    pages
        .filter_map(|(page, start)| {
            let first = page.iter().position(|byte| *byte != 0)? as u64;
            let last = page.iter().rposition(|byte| *byte != 0)? as u64;
            Some(start + first..start + last + 1)
        })
        .collect()
}

fn read_back(reader: &MemoryReader) -> Vec<u8> {
    let mut chunks = reader.chunks().unwrap();
    let mut bytes = vec![0xaa; reader.memory_bytes() as usize];
    for (chunk, buf) in bytes.chunks_mut(reader.chunk_bytes()).enumerate() {
        chunks.read(chunk, buf).unwrap();
    }
    bytes
}

fn options(threads: usize) -> WriteOptions {
    WriteOptions {
        level: 0,
        threads: NonZeroUsize::new(threads),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_memory_comes_back(
        bytes in memory(),
        chunk_bytes in prop::sample::select(vec![64 << 10, 128 << 10, 256 << 10]),
        threads in 1usize..4,
        hints in any::<bool>(),
    ) {
        let source = Vector { data: hints.then(|| data_of(&bytes)), bytes };
        let file = tempfile::tempfile().unwrap();
        let summary = write_chunks(&file, &source, &options(threads), chunk_bytes).unwrap();
        prop_assert_eq!(summary.memory_bytes, source.len());
        prop_assert_eq!(summary.stored_bytes, file.metadata().unwrap().len());
        let zero = source.bytes.chunks(PAGE_BYTES).filter(|page| page.iter().all(|b| *b == 0));
        prop_assert_eq!(summary.zero_bytes, (zero.count() * PAGE_BYTES) as u64);

        let reader = MemoryReader::open(file).unwrap();
        prop_assert_eq!(reader.chunk_bytes(), chunk_bytes);
        reader.verify().unwrap();
        prop_assert!(read_back(&reader) == source.bytes);
    }
}

#[test]
fn the_file_does_not_depend_on_the_number_of_threads() {
    let mut bytes = vec![0; 6 << 20];
    Page::Noise(1).fill(&mut bytes[1 << 20..2 << 20]);
    Page::Byte(9).fill(&mut bytes[3 << 20..]);
    let source = Vector { bytes, data: None };
    let fingerprints = [1, 2, 3, 8].map(|threads| {
        let file = tempfile::tempfile().unwrap();
        write_memory(&file, &source, &options(threads)).unwrap();
        MemoryReader::open(file).unwrap().fingerprint()
    });
    assert_eq!(fingerprints, [fingerprints[0]; 4]);
}

#[test]
fn a_source_that_fails_or_panics_does_not_hang_the_others() {
    struct Broken(bool);
    impl MemorySource for Broken {
        fn len(&self) -> u64 {
            64 << 20
        }
        fn read(&self, offset: u64, _: &mut [u8]) -> io::Result<()> {
            match offset {
                0x30_0000 if self.0 => panic!("as asked"),
                0x30_0000 => Err(io::ErrorKind::Other.into()),
                _ => Ok(()),
            }
        }
    }
    let file = tempfile::tempfile().unwrap();
    let failed = write_memory(&file, &Broken(false), &options(4));
    assert!(
        matches!(
            failed,
            Err(WriteError::Source {
                offset: 0x30_0000,
                ..
            })
        ),
        "{failed:?}"
    );
    let file = tempfile::tempfile().unwrap();
    let panicked = std::panic::catch_unwind(|| write_memory(&file, &Broken(true), &options(4)));
    assert!(panicked.is_err());
    assert!(matches!(
        MemoryReader::open(file),
        Err(MemoryError::TooShort { .. } | MemoryError::Magic { .. })
    ));
}

#[test]
fn refuses_what_it_cannot_write() {
    let file = tempfile::tempfile().unwrap();
    for bytes in [0, 1, PAGE_BYTES + 1] {
        let source = Vector {
            bytes: vec![0; bytes],
            data: None,
        };
        let result = write_memory(&file, &source, &options(1));
        assert!(matches!(result, Err(WriteError::MemoryBytes { found }) if found == bytes as u64));
    }
    file.set_len(1).unwrap();
    let source = Vector {
        bytes: vec![0; PAGE_BYTES],
        data: None,
    };
    let result = write_memory(&file, &source, &options(1));
    assert!(matches!(result, Err(WriteError::NotEmpty { found: 1 })));
}

#[test]
fn refuses_what_is_not_there() {
    let reader = MemoryReader::open(small_file()).unwrap();
    let mut chunks = reader.chunks().unwrap();
    let mut buf = vec![0; 64 << 10];
    assert!(matches!(
        chunks.read(3, &mut buf),
        Err(MemoryError::NoSuchChunk { chunk: 3, count: 3 })
    ));
    assert!(matches!(
        chunks.read(0, &mut buf[1..]),
        Err(MemoryError::Buffer { chunk: 0, .. })
    ));
}

/// Three chunks: two with frames and a zero one between them; the last is short.
fn small_file() -> File {
    let mut bytes = vec![0; (64 << 10) * 2 + PAGE_BYTES];
    bytes[PAGE_BYTES..PAGE_BYTES + 20].copy_from_slice(b"frozen in the first.");
    bytes[(64 << 10) * 2 + 5] = 1;
    let file = tempfile::tempfile().unwrap();
    write_memory(&file, &Vector { bytes, data: None }, &options(1)).unwrap();
    file
}

fn file_of(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

fn bytes_of(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn cut_anywhere_it_is_refused() {
    let file = small_file();
    let whole = file.metadata().unwrap().len();
    assert!(whole < 1024, "{whole}");
    for len in (0..whole).rev() {
        file.set_len(len).unwrap();
        let error = MemoryReader::open(file.try_clone().unwrap()).unwrap_err();
        match error {
            MemoryError::TooShort { found } => assert_eq!(found, len),
            MemoryError::Length { expected, found } => assert_eq!((expected, found), (whole, len)),
            other => panic!("{len}: {other}"),
        }
    }
}

#[test]
fn longer_than_it_says_it_is_refused() {
    let file = small_file();
    file.set_len(file.metadata().unwrap().len() + 1).unwrap();
    assert!(matches!(
        MemoryReader::open(file),
        Err(MemoryError::Length { .. })
    ));
}

#[test]
fn any_flipped_bit_is_found() {
    let bytes = bytes_of(&small_file());
    let file = file_of(&bytes);
    for (position, byte) in bytes.iter().enumerate() {
        for bit in 0..8 {
            file.write_all_at(&[byte ^ (1 << bit)], position as u64)
                .unwrap();
            let opened = MemoryReader::open(file.try_clone().unwrap());
            let result = opened.and_then(|reader| reader.verify());
            assert!(result.is_err(), "bit {bit} of byte {position}");
        }
        file.write_all_at(&[*byte], position as u64).unwrap();
    }
    MemoryReader::open(file).unwrap().verify().unwrap();
}

#[test]
fn a_later_version_and_a_diff_are_named_as_such() {
    let change = |at: usize, value: u8| {
        let mut bytes = bytes_of(&small_file());
        bytes[at] = value;
        let crc = crc32c::crc32c(&bytes[..108]);
        bytes[108..112].copy_from_slice(&crc.to_le_bytes());
        MemoryReader::open(file_of(&bytes)).unwrap_err()
    };
    assert!(matches!(change(8, 2), MemoryError::Version { found: 2 }));
    assert!(matches!(
        change(12, 1),
        MemoryError::Header {
            field: "flags",
            value: 1
        }
    ));
    assert!(matches!(
        change(72, 7),
        MemoryError::Header {
            field: "parent",
            value: 7
        }
    ));
    assert!(matches!(
        change(104, 7),
        MemoryError::Header {
            field: "reserved",
            value: 7
        }
    ));
    // 2^40 bytes of memory: refused before anything is allocated.
    assert!(matches!(
        change(29, 1),
        MemoryError::Header {
            field: "memory_bytes",
            ..
        }
    ));
}

/// An index with right checksums and impossible content.
#[test]
fn an_index_that_cannot_be_is_refused() {
    type Change = fn(&mut [u8]);
    let cases: &[(usize, Change)] = &[
        // A page of a parent that this version does not know.
        (0, |index| index[8] = 1),
        // The last chunk has one page; this says that its second one is there too.
        (2, |index| index[48] |= 2),
        // The zero chunk between them: a checksum, or a page, and no frame.
        (1, |index| index[24 + 20] = 1),
        (1, |index| index[24] = 1),
        // A frame longer than its pages allow, and one that does not end where it should.
        (0, |index| index[19] = 1),
        (3, |index| index[16] += 1),
    ];
    for (expected, change) in cases {
        let mut bytes = bytes_of(&small_file());
        let index = bytes.len() - 3 * 24;
        change(&mut bytes[index..]);
        let digest = crate::Digest::of(&bytes[index..]);
        bytes[40..72].copy_from_slice(digest.as_bytes());
        let crc = crc32c::crc32c(&bytes[..108]);
        bytes[108..112].copy_from_slice(&crc.to_le_bytes());
        match MemoryReader::open(file_of(&bytes)) {
            Err(MemoryError::Index { chunk, .. }) => assert_eq!(chunk, *expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}
