//! The disk as a driver sees it.

use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{Block, BlockBackend, FileBackend};
use crate::testing::{BORDER, Buffer, DATA, Driver, read, write};

const HEADER: u64 = DATA;
const STATUS: u64 = DATA + 0x100;
const BUFFER: u64 = DATA + 0x1000;

fn file(sectors: u64) -> std::fs::File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(sectors * 512).unwrap();
    file
}

fn disk(file: &std::fs::File, read_only: bool) -> Driver<Block> {
    let backend = FileBackend::new(file.try_clone().unwrap(), read_only).unwrap();
    Driver::started(Block::new(Box::new(backend), "thaw-test"))
}

/// Sends a request with these data buffers. Returns status and length.
fn request(driver: &mut Driver<Block>, kind: u32, sector: u64, data: &[Buffer]) -> (u8, u32) {
    driver.poke(HEADER, &kind.to_le_bytes());
    driver.poke(HEADER + 8, &sector.to_le_bytes());
    driver.poke(STATUS, &[0xff]);
    let mut chain = vec![read(HEADER, 16)];
    chain.extend_from_slice(data);
    chain.push(write(STATUS, 1));
    driver.send(0, &chain);
    let [(_, len)] = driver.used(0)[..] else {
        panic!("not answered")
    };
    (driver.peek(STATUS, 1)[0], len)
}

#[test]
fn what_is_written_is_in_the_file_and_read_again() {
    let mut file = file(64);
    let mut driver = disk(&file, false);
    let bytes: Vec<u8> = (0..2048u32).map(|n| (n % 251) as u8).collect();
    driver.poke(BUFFER, &bytes);
    let pieces = [read(BUFFER, 100), read(BUFFER + 100, 1948)];
    assert_eq!(request(&mut driver, 1, 3, &pieces), (0, 1));
    let mut stored = vec![0; 2048];
    file.seek(SeekFrom::Start(3 * 512)).unwrap();
    file.read_exact(&mut stored).unwrap();
    assert_eq!(stored, bytes);

    let across = BORDER - 1000;
    let pieces = [write(across, 2047), write(BUFFER + 0x1000, 1)];
    assert_eq!(request(&mut driver, 0, 3, &pieces), (0, 2049));
    assert_eq!(driver.peek(across, 2047), bytes[..2047]);
    assert_eq!(driver.peek(BUFFER + 0x1000, 1), bytes[2047..]);
}

#[test]
fn transfers_larger_than_the_bounce_buffer_are_whole() {
    let mut file = file(2048);
    let bytes: Vec<u8> = (0..0x6_0000u32)
        .map(|n| (n / 512) as u8 ^ n as u8)
        .collect();
    file.write_all(&bytes).unwrap();
    let mut driver = disk(&file, false);
    let data = [write(BUFFER, bytes.len() as u32)];
    assert_eq!(
        request(&mut driver, 0, 0, &data),
        (0, bytes.len() as u32 + 1)
    );
    assert_eq!(driver.peek(BUFFER, bytes.len()), bytes);
}

#[test]
fn requests_beyond_the_disk_fail() {
    let mut driver = disk(&file(8), false);
    let sector = [write(BUFFER, 512)];
    for at in [8, u64::MAX, u64::MAX / 512, 1 << 55] {
        assert_eq!(request(&mut driver, 0, at, &sector).0, 1, "{at}");
    }
    assert_eq!(request(&mut driver, 0, 7, &[write(BUFFER, 1024)]).0, 1);
    assert_eq!(
        request(&mut driver, 0, 0, &[write(BUFFER, 511)]).0,
        1,
        "not whole sectors"
    );
    assert_eq!(request(&mut driver, 0, 7, &sector).0, 0);
}

#[test]
fn a_read_only_disk_stays_as_it_is() {
    let mut driver = disk(&file(8), true);
    driver.poke(BUFFER, &[1; 512]);
    for kind in [1, 11, 13] {
        assert_eq!(request(&mut driver, kind, 0, &[read(BUFFER, 512)]).0, 1);
    }
    assert_eq!(request(&mut driver, 0, 0, &[write(BUFFER, 512)]).0, 0);
    assert_eq!(driver.peek(BUFFER, 512), [0; 512]);
}

#[test]
fn ranges_can_be_discarded_and_zeroed() {
    let file = file(64);
    let mut driver = disk(&file, false);
    for kind in [11, 13] {
        driver.poke(BUFFER, &[7; 4096]);
        assert_eq!(request(&mut driver, 1, 0, &[read(BUFFER, 4096)]).0, 0);
        driver.poke(BUFFER, &0u64.to_le_bytes());
        driver.poke(BUFFER + 8, &8u32.to_le_bytes());
        driver.poke(BUFFER + 12, &0u32.to_le_bytes());
        assert_eq!(request(&mut driver, kind, 0, &[read(BUFFER, 16)]).0, 0);
        assert_eq!(request(&mut driver, 0, 0, &[write(BUFFER, 4096)]).0, 0);
        assert_eq!(driver.peek(BUFFER, 4096), [0; 4096]);
    }
    driver.poke(BUFFER + 8, &u32::MAX.to_le_bytes());
    assert_eq!(request(&mut driver, 13, 0, &[read(BUFFER, 16)]).0, 2);
    driver.poke(BUFFER, &u64::MAX.to_le_bytes());
    driver.poke(BUFFER + 8, &1u32.to_le_bytes());
    assert_eq!(request(&mut driver, 13, 0, &[read(BUFFER, 16)]).0, 1);
}

#[test]
fn small_requests_are_answered() {
    let mut driver = disk(&file(8), false);
    assert_eq!(request(&mut driver, 4, 0, &[]), (0, 1), "flush");
    assert_eq!(request(&mut driver, 99, 0, &[]), (2, 1), "unknown");
    assert_eq!(request(&mut driver, 8, 0, &[write(BUFFER, 20)]), (0, 21));
    assert_eq!(driver.peek(BUFFER, 9), b"thaw-test");
    driver.send(0, &[read(HEADER, 15), write(STATUS, 1)]);
    assert_eq!(driver.peek(STATUS, 1), [1], "half a header");
}

#[test]
fn chains_without_room_for_a_status_are_returned() {
    let mut driver = disk(&file(8), false);
    driver.send(0, &[read(HEADER, 16)]);
    driver.send(0, &[read(HEADER, 16), write(u64::MAX - 4, 16)]);
    assert_eq!(
        driver.used(0).iter().map(|used| used.1).collect::<Vec<_>>(),
        [0, 0]
    );
    assert_eq!(request(&mut driver, 4, 0, &[]).0, 0);
}

#[test]
fn configuration_space_describes_the_disk() {
    let driver = disk(&file(9), false);
    let mut config = [0; 64];
    crate::virtio::VirtioDevice::read_config(driver.function.device(), 0, &mut config);
    assert_eq!(config[0], 9);
    assert_eq!(config[12..16], 254u32.to_le_bytes());
    assert_eq!(config[20..24], 512u32.to_le_bytes());
    assert_eq!(config[57..], [0; 7]);
}

/// A backend that knows no way to zero but writing.
struct Plain(Vec<u8>);

impl BlockBackend for Plain {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_only(&self) -> bool {
        false
    }
    fn read_at(&mut self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        data.copy_from_slice(&self.0[offset as usize..][..data.len()]);
        Ok(())
    }
    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0[offset as usize..][..data.len()].copy_from_slice(data);
        Ok(())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn zeroing_by_hand_hits_the_range_exactly() {
    let mut plain = Plain(vec![1; 3 * 4096]);
    plain.write_zeroes(512, 2 * 4096).unwrap();
    let zeros = plain.0.iter().filter(|byte| **byte == 0).count();
    assert_eq!(zeros, 2 * 4096);
    assert_eq!((plain.0[511], plain.0[512], plain.0[512 + 8192]), (1, 0, 1));
}
