//! The transport as a driver sees it, well-behaved and not.

use super::status;
use crate::event_loop::EventHandler;
use crate::pci::PciFunction;
use crate::testing::{BAR, DATA, Driver, END, write};
use crate::virtio::rng::Rng;

#[test]
fn a_device_comes_up_and_works() {
    let mut driver = Driver::started(Rng::new());
    driver.send(0, &[write(DATA, 64)]);
    assert_eq!(driver.used(0), [(0, 64)]);
    assert_ne!(driver.peek(DATA, 64), [0; 64]);
    assert_eq!(driver.routes.take_triggered(), [0]);
}

#[test]
fn registers_identify_the_device() {
    let mut driver = Driver::new(Rng::new());
    let mut id = [0; 4];
    driver.function.config_read(0, &mut id);
    assert_eq!(id, [0xf4, 0x1a, 0x44, 0x10]);
    assert_eq!(driver.get16(0x12), 1);
    assert_eq!(driver.get16(0x18), 64);
    driver.put16(0x16, 1);
    assert_eq!(driver.get16(0x18), 0, "there is no second queue");
}

#[test]
fn features_are_fixed_once_agreed() {
    let mut driver = Driver::new(Rng::new());
    driver.negotiate();
    let accepted = driver.get32(0x0c);
    driver.put32(0x0c, 0);
    assert_eq!(driver.get32(0x0c), accepted);
}

#[test]
fn features_that_were_not_offered_are_refused() {
    let mut driver = Driver::new(Rng::new());
    driver.put8(0x14, 1);
    driver.put8(0x14, 3);
    driver.put32(0x08, 1);
    driver.put32(0x0c, 0xffff_ffff);
    driver.put8(0x14, 0xb);
    assert_eq!(driver.status(), 3);
}

#[test]
fn legacy_drivers_are_refused() {
    let mut driver = Driver::new(Rng::new());
    driver.put8(0x14, 3);
    driver.put8(0x14, 0xb);
    assert_eq!(driver.status(), 3);
}

#[test]
fn status_bits_come_in_order() {
    for skipping in [2, 4, 8, 5, 0xd, 7] {
        let mut driver = Driver::new(Rng::new());
        driver.put8(0x14, skipping);
        assert_eq!(driver.status(), 0, "{skipping:#x}");
    }
}

#[test]
fn a_queue_is_immutable_once_enabled_and_after_driver_ok() {
    let mut driver = Driver::started(Rng::new());
    for (register, value) in [(0x18, 8), (0x1a, 1), (0x1c, 0)] {
        let before = driver.get16(register);
        driver.put16(register, value);
        assert_eq!(driver.get16(register), before, "{register:#x}");
    }
    for register in [0x20, 0x24, 0x28, 0x2c, 0x30, 0x34] {
        let before = driver.get32(register);
        driver.put32(register, 0x1_0000);
        assert_eq!(driver.get32(register), before, "{register:#x}");
    }
}

#[test]
fn a_queue_that_is_not_in_memory_cannot_be_enabled() {
    let last = END as u32;
    for (register, value) in [
        (0x20, last),
        (0x28, last - 2),
        (0x30, last - 4),
        (0x34, 1),
        (0x20, 8),
        (0x28, 1),
        (0x30, 2),
    ] {
        let mut driver = Driver::new(Rng::new());
        driver.negotiate();
        driver.put32(0x20, 0x1000);
        driver.put32(0x28, 0x2000);
        driver.put32(0x30, 0x3000);
        driver.put32(register, value);
        driver.put16(0x1c, 1);
        assert_eq!(driver.get16(0x1c), 0, "{register:#x} := {value:#x}");
    }
}

#[test]
fn queue_sizes_are_powers_of_two_up_to_the_largest() {
    let mut driver = Driver::new(Rng::new());
    driver.negotiate();
    for size in [0, 3, 128, 0xffff] {
        driver.put16(0x18, size);
        assert_eq!(driver.get16(0x18), 64);
    }
    driver.put16(0x18, 32);
    assert_eq!(driver.get16(0x18), 32);
}

#[test]
fn unknown_vectors_become_none() {
    let mut driver = Driver::new(Rng::new());
    driver.negotiate();
    driver.put16(0x1a, 2);
    assert_eq!(driver.get16(0x1a), 0xffff);
    driver.put16(0x10, 1);
    assert_eq!(driver.get16(0x10), 1);
}

#[test]
fn a_broken_ring_asks_for_a_reset_and_gets_over_it() {
    let mut driver = Driver::started(Rng::new());
    driver.rings[0].set_available(&driver.memory, 100);
    driver.notify(0);
    assert_eq!(driver.status() & status::NEEDS_RESET, status::NEEDS_RESET);
    assert_eq!(
        driver.routes.take_triggered(),
        [1],
        "the configuration interrupt"
    );
    driver.notify(0);

    driver.put8(0x14, 0);
    assert_eq!(driver.status(), 0);
    let memory = driver.memory.clone();
    driver.rings[0].set_available(&memory, 0);
    driver.poke(0x3000, &[0; 0x100]);
    driver.start();
    driver.send(0, &[write(DATA, 8)]);
    assert_eq!(driver.used(0).len(), 1);
}

#[test]
fn nothing_works_before_driver_ok_or_after_reset() {
    let mut driver = Driver::started(Rng::new());
    driver.put8(0x14, 0);
    driver.send(0, &[write(DATA, 8)]);
    assert_eq!(driver.used(0), []);
    assert_eq!(driver.peek(DATA, 8), [0; 8]);
}

#[test]
fn notifications_follow_the_bar() {
    let mut driver = Driver::new(Rng::new());
    assert_eq!(driver.notifications.addresses(), [BAR + 0x3000]);
    // Probing for the size, as Linux does it, changes nothing.
    driver.function.config_write(0x04, &[0, 0]);
    driver.function.config_write(0x10, &[0xff; 4]);
    driver.function.config_write(0x14, &[0xff; 4]);
    assert_eq!(driver.function.bars()[0].base(), None);
    assert_eq!(driver.notifications.addresses(), [BAR + 0x3000]);
    driver
        .function
        .config_write(0x10, &0xd000_0000u32.to_le_bytes());
    driver.function.config_write(0x14, &[0; 4]);
    driver.function.config_write(0x04, &[6, 0]);
    assert_eq!(driver.function.bars()[0].base(), Some(0xd000_0000));
    assert_eq!(driver.notifications.addresses(), [0xd000_3000]);
    let notifications = driver.notifications.clone();
    drop(driver);
    assert!(notifications.addresses().is_empty());
}

#[test]
fn odd_accesses_read_as_zero_and_change_nothing() {
    let mut driver = Driver::started(Rng::new());
    let before = driver.save();
    for offset in [
        0, 3, 0x15, 0x38, 0xffd, 0xffe, 0x1000, 0x3ffe, 0x5fff, 0x6000, 0x7fff,
    ] {
        for len in [1, 2, 3, 8, 16] {
            driver.function.bar_read(0, offset, &mut vec![0xaa; len]);
            if len == 3 || offset > 0x5000 {
                driver.function.bar_write(0, offset, &vec![0xff; len]);
            }
        }
    }
    assert_eq!(driver.save(), before);
}

#[test]
fn interrupts_come_only_when_asked_for() {
    let mut driver = Driver::started(Rng::new());
    driver.send(0, &[write(DATA, 8)]);
    assert_eq!(driver.routes.take_triggered(), [0]);
    // The driver has not looked at the ring since.
    driver.send(0, &[write(DATA, 8)]);
    assert!(driver.routes.take_triggered().is_empty());
    assert_eq!(driver.used(0).len(), 2);
    for _ in 0..3 {
        driver.offer(0, &[write(DATA, 8)]);
    }
    driver.notify(0);
    assert_eq!(driver.routes.take_triggered(), [0], "one for all three");
}

#[test]
fn resume_makes_up_for_what_was_lost() {
    let mut driver = Driver::started(Rng::new());
    driver.used(0);
    driver.function.resume();
    driver.run();
    assert!(
        driver.routes.take_triggered().is_empty(),
        "nothing was unseen"
    );
    // A chain whose notification was lost, and an interrupt that was.
    driver.send(0, &[write(DATA, 8)]);
    driver.routes.take_triggered();
    driver.offer(0, &[write(DATA, 8)]);
    driver.function.resume();
    assert_eq!(driver.routes.take_triggered(), [0]);
    driver.run();
    assert_eq!(driver.used(0).len(), 2);
}
