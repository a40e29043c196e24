//! How fast a template fills, against zstd alone on the same frames and the same threads.
//!
//! `decode`: frames into a buffer that is used again and again; nobody keeps the pages, so this is
//! the ceiling that `zstd -d > /dev/null` shares. `decode and write`: frames, then one write each
//! to a memfd, in order, as `zstd -d -o FILE` does on tmpfs. `template`: the real thing, checksums
//! and holes included.
//!
//! With `THAW_BENCH_MEMORY=FILE` it takes a raw memory image instead of the made-up one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs::File;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::{env, fs, io};

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use nix::sys::memfd::{MFdFlags, memfd_create};
use snapshots::memory::{
    MAX_CHUNK_BYTES, MemoryReader, MemorySource, PAGE_BYTES, WriteOptions, write_memory,
};
use snapshots::template::Template;

struct Vector(Vec<u8>);

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

/// 128 MiB in runs of 32 pages: machine code, records of small numbers, and zeros.
fn memory() -> Vec<u8> {
    if let Some(path) = env::var_os("THAW_BENCH_MEMORY") {
        return fs::read(path).unwrap();
    }
    let code = fs::read("/proc/self/exe").unwrap();
    let mut code = code.chunks_exact(32 * PAGE_BYTES).cycle();
    let mut bytes = Vec::new();
    for run in 0u64..1024 {
        match run % 3 {
            0 => bytes.extend(code.next().unwrap()),
            1 => bytes.extend((0..16_384u64).flat_map(|n| (run * n % 9973).to_le_bytes())),
            _ => bytes.resize(bytes.len() + 32 * PAGE_BYTES, 0),
        }
    }
    bytes
}

/// The same frames, as plain bytes in memory, sixteen in a batch.
fn frames(file: &File) -> Vec<Vec<u8>> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let mut rest = &bytes[112..];
    let mut frames = Vec::new();
    while rest.starts_with(&0xfd2f_b528u32.to_le_bytes()) {
        let len = zstd::zstd_safe::find_frame_compressed_size(rest).unwrap();
        frames.push(rest[..len].to_vec());
        rest = &rest[len..];
    }
    frames
}

/// Decompresses all frames on `threads` threads and shows each to `keep`.
fn decode(frames: &[Vec<u8>], threads: usize, keep: impl Fn(&[u8]) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
        let mut buf = vec![0; MAX_CHUNK_BYTES];
        loop {
            let start = next.fetch_add(16, Ordering::Relaxed);
            if start >= frames.len() {
                break;
            }
            for frame in &frames[start..(start + 16).min(frames.len())] {
                let len = decompressor.decompress_to_buffer(frame, &mut buf).unwrap();
                keep(&buf[..len]);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
}

fn decompress(criterion: &mut Criterion) {
    let file = tempfile::tempfile().unwrap();
    let source = Vector(memory());
    let summary = write_memory(&file, &source, &WriteOptions::default()).unwrap();
    let frames = frames(&file);
    let reader = MemoryReader::open(file).unwrap();
    let data_bytes = summary.memory_bytes - summary.zero_bytes;
    let cores = thread::available_parallelism().unwrap().get();

    for threads in [1, cores] {
        let mut group = criterion.benchmark_group(format!("decompress on {threads} threads"));
        group.throughput(Throughput::Bytes(data_bytes));
        group.sampling_mode(SamplingMode::Flat).sample_size(20);
        group.bench_function("decode", |bencher| {
            bencher.iter(|| {
                decode(&frames, threads, |pages| {
                    assert!(!black_box(pages).is_empty())
                })
            });
        });
        group.bench_function("decode and write", |bencher| {
            bencher.iter(|| {
                let memfd = File::from(memfd_create("bench", MFdFlags::MFD_CLOEXEC).unwrap());
                let end = AtomicU64::new(0);
                decode(&frames, threads, |pages| {
                    let offset = end.fetch_add(pages.len() as u64, Ordering::Relaxed);
                    memfd.write_all_at(pages, offset).unwrap();
                });
            });
        });
        group.bench_function("template", |bencher| {
            bencher.iter(|| Template::load(&reader, NonZeroUsize::new(threads)).unwrap());
        });
        group.finish();
    }
}

criterion_group!(benches, decompress);
criterion_main!(benches);
