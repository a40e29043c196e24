//! The balloon as a driver sees it.

use std::io;
use std::sync::{Arc, Mutex};

use vm_memory::GuestAddress;

use super::{Balloon, MemoryReclaim};
use crate::pci::PciFunction;
use crate::testing::{DATA, Driver, END, read, write};

#[derive(Default)]
struct Reclaimed(Mutex<Vec<(u64, u64)>>);

impl MemoryReclaim for Reclaimed {
    fn discard(&self, start: GuestAddress, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().push((start.0, len));
        Ok(())
    }
}

fn balloon() -> (Driver<Balloon>, Arc<Reclaimed>) {
    let reclaimed = Arc::new(Reclaimed::default());
    (Driver::started(Balloon::new(reclaimed.clone())), reclaimed)
}

#[test]
fn pages_given_are_reclaimed_in_runs() {
    let (mut driver, reclaimed) = balloon();
    let beyond = (END / 4096) as u32;
    for (at, page) in [0x201u32, 0x200, 0x300, 0x202, beyond, u32::MAX]
        .iter()
        .enumerate()
    {
        driver.poke(DATA + 4 * at as u64, &page.to_le_bytes());
    }
    driver.send(0, &[read(DATA, 24)]);
    let expected = [(0x20_0000, 0x3000), (0x30_0000, 0x1000)];
    assert_eq!(*reclaimed.0.lock().unwrap(), expected);
    driver.send(1, &[read(DATA, 24)]);
    assert_eq!((driver.used(0).len(), driver.used(1).len()), (1, 1));
}

#[test]
fn reported_ranges_are_reclaimed_if_they_are_memory() {
    let (mut driver, reclaimed) = balloon();
    let good = write(0x20_0000, 0x10_0000);
    let bad = [
        write(0x20_0001, 0x1000),
        write(0x20_0000, 0xfff),
        write(END - 0x1000, 0x2000),
        write(u64::MAX - 0xfff, 0x1000),
        write(0x20_0000, 0),
        read(0x20_0000, 0x1000),
    ];
    driver.send(2, &[&bad[..], &[good]].concat());
    assert_eq!(*reclaimed.0.lock().unwrap(), [(0x20_0000, 0x10_0000)]);
    assert_eq!(driver.used(2).len(), 1);
}

#[test]
fn the_guest_hears_of_a_target_and_answers() {
    let (mut driver, _) = balloon();
    let generation = driver.get32(0x14).to_le_bytes()[1];
    driver
        .function
        .update(|balloon| balloon.set_target(3 * 4096 + 1));
    assert_eq!(driver.routes.take_triggered(), [3]);
    assert_eq!(driver.get32(0x2000), 3);
    let mut now = [0];
    driver.function.bar_read(0, 0x15, &mut now);
    assert_ne!(now[0], generation);
    driver.put32(0x2004, 2);
    assert_eq!(driver.function.device().inflated(), 2 * 4096);
    driver.put32(0x2000, 9);
    assert_eq!(driver.get32(0x2000), 3, "the target is the host's");
}
