//! The card as a driver and a tap see it. A pair of datagram sockets stands for the tap, which keeps frames apart in the
//! same way; one test has a real one.

mod real_tap;

use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;

use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_TSO4,
    VIRTIO_NET_F_MRG_RXBUF,
};

use super::{Limit, Net, NetControl, NetLimits, Rate, Tap};
use crate::event_loop::EventHandler;
use crate::testing::{BORDER, DATA, Driver, read, write};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

struct Wire {
    driver: Driver<Net>,
    control: Arc<NetControl>,
    host: UnixDatagram,
    tap: UnixDatagram,
}

fn wire(muted: bool, limits: NetLimits) -> Wire {
    let control = Arc::new(NetControl::new(muted, limits).unwrap());
    let (tap, host) = UnixDatagram::pair().unwrap();
    host.set_nonblocking(true).unwrap();
    let card = card(MAC, &tap, &control);
    Wire {
        driver: Driver::started(card),
        control,
        host,
        tap,
    }
}

fn card(mac: [u8; 6], tap: &UnixDatagram, control: &Arc<NetControl>) -> Net {
    let tap = Tap::unchecked(tap.try_clone().unwrap().into()).unwrap();
    Net::new(mac, tap, control.clone()).unwrap()
}

fn open() -> Wire {
    wire(false, NetLimits::default())
}

/// A header that asks for nothing, and a frame of this length.
fn frame(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; 12];
    bytes.extend((0..length).map(|n| n as u8));
    bytes
}

impl Wire {
    fn sends(&mut self, bytes: &[u8]) {
        self.driver.poke(DATA, bytes);
        self.driver
            .send(TRANSMIT, &[read(DATA, bytes.len() as u32)]);
    }

    /// What comes out at the tap.
    fn heard(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; 70_000];
        let length = self.host.recv(&mut bytes).ok()?;
        bytes.truncate(length);
        Some(bytes)
    }

    fn says(&mut self, bytes: &[u8]) {
        self.host.send(bytes).unwrap();
        self.driver.run();
    }
}

#[test]
fn frames_of_the_guest_come_out_whole() {
    let mut wire = open();
    let sent = frame(1514);
    wire.driver.poke(BORDER - 100, &sent);
    let chain = [read(BORDER - 100, 300), read(BORDER + 200, 1226)];
    wire.driver.send(TRANSMIT, &chain);
    assert_eq!(wire.heard(), Some(sent));
    assert_eq!(wire.driver.used(TRANSMIT).len(), 1);
    let counters = wire.control.counters();
    assert_eq!(
        (counters.from_guest_frames, counters.from_guest_bytes),
        (1, 1514)
    );
}

#[test]
fn what_is_no_frame_is_thrown_away_and_the_queue_goes_on() {
    let mut wire = open();
    wire.sends(&[0; 11]);
    wire.sends(&frame(13));
    wire.driver.send(TRANSMIT, &[write(DATA, 100)]);
    wire.driver.send(TRANSMIT, &[read(DATA, 70_000)]);
    wire.driver.send(TRANSMIT, &[read(0xffff_0000, 100)]);
    assert_eq!(wire.heard(), None);
    assert_eq!(wire.driver.used(TRANSMIT).len(), 5);
    assert_eq!(wire.control.counters().dropped_frames, 5);
    wire.sends(&frame(60));
    assert_eq!(wire.heard(), Some(frame(60)));
}

#[test]
fn frames_for_the_guest_are_spread_over_its_buffers() {
    let mut wire = open();
    for at in 0..3 {
        wire.driver
            .offer(RECEIVE, &[write(DATA + at * 0x1000, 1000)]);
    }
    wire.driver.notify(RECEIVE);
    wire.driver.routes.take_triggered();
    wire.says(&frame(1514));
    assert_eq!(wire.driver.routes.take_triggered(), [RECEIVE as u16]);
    let used = wire.driver.used(RECEIVE);
    assert_eq!(
        used.iter().map(|(_, length)| *length).collect::<Vec<_>>(),
        [1000, 526]
    );
    let mut seen = wire.driver.peek(DATA, 1000);
    seen.extend(wire.driver.peek(DATA + 0x1000, 526));
    let mut expected = frame(1514);
    expected[10] = 2;
    assert_eq!(seen, expected);
    // The third buffer is for the next one.
    wire.says(&frame(60));
    assert_eq!(wire.driver.used(RECEIVE)[0].1, 72);
}

#[test]
fn a_frame_waits_for_room() {
    let mut wire = open();
    wire.driver.send(RECEIVE, &[write(DATA, 1000)]);
    wire.says(&frame(1514));
    wire.says(&frame(60));
    assert_eq!(wire.driver.used(RECEIVE), []);
    wire.driver.send(RECEIVE, &[write(DATA + 0x1000, 1000)]);
    assert_eq!(wire.driver.used(RECEIVE).len(), 2);
    wire.driver.send(RECEIVE, &[write(DATA + 0x2000, 1000)]);
    assert_eq!(wire.driver.used(RECEIVE).len(), 1);
    assert_eq!(wire.control.counters().to_guest_frames, 2);
}

#[test]
fn a_muted_card_is_neither_heard_nor_hears() {
    let mut wire = wire(true, NetLimits::default());
    wire.driver.send(RECEIVE, &[write(DATA + 0x1000, 2000)]);
    wire.sends(&frame(60));
    wire.says(&frame(61));
    assert_eq!(wire.heard(), None);
    assert_eq!(wire.driver.used(TRANSMIT).len(), 1, "thrown away");
    assert_eq!(wire.driver.used(RECEIVE), []);
    wire.control.set_muted(false).unwrap();
    wire.driver.run();
    assert_eq!(wire.driver.used(RECEIVE)[0].1, 73);
    wire.sends(&frame(60));
    assert_eq!(wire.heard(), Some(frame(60)));
}

/// Also by a card that is not muted: the machine that was saved sends it.
#[test]
fn what_was_queued_before_a_restore_is_not_heard() {
    for muted in [true, false] {
        let mut wire = open();
        wire.driver.poke(DATA, &frame(60));
        wire.driver.offer(TRANSMIT, &[read(DATA, 72)]);
        let state = wire.driver.save();
        let control = Arc::new(NetControl::new(muted, NetLimits::default()).unwrap());
        let restored = card(MAC, &wire.tap, &control);
        let mut again = Driver::restored(restored, &wire.driver, &state).unwrap();
        again.function.resume();
        again.run();
        assert_eq!(again.used(TRANSMIT).len(), 1);
        assert_eq!(control.counters().dropped_frames, 1);
        control.set_muted(false).unwrap();
        again.run();
        assert_eq!(wire.heard(), None);
        again.send(TRANSMIT, &[read(DATA, 72)]);
        assert_eq!(wire.heard(), Some(frame(60)), "what it says now is");
    }
}

#[test]
fn a_machine_that_was_saved_goes_on_to_send() {
    let mut wire = open();
    wire.driver.poke(DATA, &frame(60));
    wire.driver.offer(TRANSMIT, &[read(DATA, 72)]);
    wire.driver.save();
    wire.driver.function.resume();
    wire.driver.run();
    assert_eq!(wire.heard(), Some(frame(60)));
}

#[test]
fn another_address_is_another_card() {
    let wire = open();
    let other = card([2; 6], &wire.tap, &wire.control);
    assert!(Driver::restored(other, &wire.driver, &wire.driver.save()).is_err());
}

#[test]
fn frames_wait_for_their_turn() {
    let few = Limit {
        bytes: None,
        frames: Some(Rate::per_second(20)),
    };
    let limits = NetLimits {
        from_guest: few,
        to_guest: few,
    };
    let mut wire = wire(false, limits);
    for _ in 0..30 {
        wire.driver.poke(DATA, &frame(60));
        wire.driver.send(TRANSMIT, &[read(DATA, 72)]);
        wire.driver.used(TRANSMIT);
        if wire.heard().is_none() {
            break;
        }
    }
    // The bucket is empty; nothing is lost, and it fills again.
    let sent = wire.control.counters().from_guest_frames;
    assert!((20..30).contains(&sent), "{sent}");
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(20));
        wire.driver.run();
        if wire.heard().is_some() {
            return;
        }
    }
    panic!("the frame is lost");
}

#[test]
fn limits_can_be_taken_away() {
    let one = Limit {
        bytes: Some(Rate::per_second(1)),
        frames: None,
    };
    let limits = NetLimits {
        from_guest: one,
        to_guest: one,
    };
    let mut wire = wire(false, limits);
    for at in 1..3 {
        wire.driver
            .send(RECEIVE, &[write(DATA + 0x1000 * at, 2000)]);
        wire.says(&frame(60));
        wire.sends(&frame(1514));
    }
    let counters = wire.control.counters();
    assert_eq!(
        (counters.from_guest_frames, counters.to_guest_frames),
        (1, 1)
    );
    wire.control.set_limits(NetLimits::default()).unwrap();
    wire.driver.run();
    let counters = wire.control.counters();
    assert_eq!(
        (counters.from_guest_frames, counters.to_guest_frames),
        (2, 2)
    );
}

#[test]
fn a_muted_card_throws_away_without_waiting() {
    let few = Limit {
        bytes: Some(Rate::per_second(1)),
        frames: None,
    };
    let limits = NetLimits {
        from_guest: few,
        to_guest: few,
    };
    let mut wire = wire(false, limits);
    wire.sends(&frame(1514));
    wire.sends(&frame(1514));
    assert_eq!(wire.driver.used(TRANSMIT).len(), 1);
    wire.control.set_muted(true).unwrap();
    wire.driver.run();
    assert_eq!(wire.driver.used(TRANSMIT).len(), 1);
    assert_eq!(wire.control.counters().dropped_frames, 1);
}

#[test]
fn a_frame_that_no_ring_holds_does_not_stop_the_others() {
    let mut wire = open();
    for at in 0..16 {
        wire.driver.offer(RECEIVE, &[write(DATA + 64 * at, 40)]);
    }
    wire.driver.notify(RECEIVE);
    wire.says(&frame(1514));
    assert_eq!(wire.driver.used(RECEIVE), []);
    assert_eq!(wire.control.counters().dropped_frames, 1);
    wire.says(&frame(60));
    let lengths: Vec<u32> = wire
        .driver
        .used(RECEIVE)
        .iter()
        .map(|used| used.1)
        .collect();
    assert_eq!(lengths, [40, 32]);
}

#[test]
fn a_driver_that_cannot_merge_gets_a_frame_in_one_buffer_or_not_at_all() {
    let mut wire = open();
    restart_without(&mut wire.driver, &[VIRTIO_NET_F_MRG_RXBUF]);
    wire.driver.offer(RECEIVE, &[write(DATA, 100)]);
    wire.driver.send(RECEIVE, &[write(DATA + 0x1000, 2000)]);
    wire.says(&frame(1514));
    assert_eq!(wire.driver.used(RECEIVE), []);
    wire.says(&frame(60));
    assert_eq!(wire.driver.used(RECEIVE)[0].1, 72);
    wire.says(&frame(1514));
    assert_eq!(wire.driver.used(RECEIVE)[0].1, 1526);
}

#[test]
fn a_driver_without_offloads_gets_and_sends_none() {
    let mut wire = open();
    let offloads = [
        VIRTIO_NET_F_CSUM,
        VIRTIO_NET_F_HOST_TSO4,
        VIRTIO_NET_F_GUEST_CSUM,
        VIRTIO_NET_F_GUEST_TSO4,
    ];
    restart_without(&mut wire.driver, &offloads);
    wire.driver.send(RECEIVE, &[write(DATA + 0x1000, 4000)]);
    let mut sums = frame(60);
    sums[0] = 1;
    let mut segments = frame(3000);
    segments[1] = 1;
    for bytes in [&sums, &segments] {
        wire.says(bytes);
        wire.sends(bytes);
    }
    assert_eq!(wire.driver.used(RECEIVE), []);
    assert_eq!(wire.heard(), None);
    assert_eq!(wire.control.counters().dropped_frames, 4);
    wire.says(&frame(60));
    assert_eq!(wire.driver.used(RECEIVE).len(), 1);
}

fn restart_without(driver: &mut Driver<Net>, features: &[u32]) {
    driver.put8(0x14, 0);
    driver.refused = features.iter().map(|feature| 1 << feature).sum();
    driver.poke(0, &[0; 0x8000]);
    driver.start();
}

/// Nothing is worse than a loop that turns for ever.
#[test]
fn a_tap_that_is_gone_is_left_alone() {
    let mut wire = open();
    wire.driver.send(RECEIVE, &[write(DATA, 100)]);
    let unreadable = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .unwrap();
    let tap = Tap::unchecked(unreadable.into()).unwrap();
    let control = wire.control.clone();
    let state = wire.driver.save();
    let broken = Net::new(MAC, tap, control).unwrap();
    let mut again = Driver::restored(broken, &wire.driver, &state).unwrap();
    again.send(RECEIVE, &[write(DATA, 2000)]);
    assert_eq!(again.used(RECEIVE), []);
}

#[test]
fn a_driver_that_leaves_takes_nothing_with_it() {
    let mut wire = open();
    wire.driver.send(RECEIVE, &[write(DATA, 100)]);
    wire.says(&frame(1514));
    wire.driver.put8(0x14, 0);
    wire.control.set_muted(false).unwrap();
    // Nothing wakes a card that nobody drives.
    wire.driver.run();
    wire.driver.start();
    wire.driver.send(RECEIVE, &[write(DATA, 2000)]);
    assert_eq!(
        wire.driver.used(RECEIVE),
        [],
        "the frame went with the driver"
    );
    wire.says(&frame(60));
    assert_eq!(wire.driver.used(RECEIVE)[0].1, 72);
}
