//! Machines with a network card.

use std::fs::File;

use protocol::vmm::v1 as wire;
use wire::failure::Kind;
use wire::reply::Reply as Answer;
use wire::request::Request as Ask;

use super::harness::{Guest, Vmm, assert_failure, machine};
use super::tap::{Tap, in_namespace};
use super::{mini_guest, net_guest};

/// Enough of what a talking guest prints to be sure that it talks and is not answered.
const A_WHILE: usize = 20;

fn set_net(muted: bool) -> Ask {
    Ask::SetNet(wire::SetNet {
        muted: Some(muted),
        limits: None,
    })
}

fn limited(per_second: u64) -> Ask {
    let rate = wire::Rate {
        per_second,
        burst: 1,
    };
    let limit = wire::NetLimit {
        bytes: None,
        frames: Some(rate),
    };
    Ask::SetNet(wire::SetNet {
        muted: None,
        limits: Some(wire::NetLimits {
            from_guest: Some(limit),
            to_guest: Some(limit),
        }),
    })
}

/// A guest whose card is on this tap, running.
fn started(code: &[u8], tap: &Tap, muted: bool) -> Option<Vmm> {
    let guest = Guest::mini(code)?;
    let mut vmm = Vmm::start();
    vmm.plug(tap.end(), muted);
    let answer = vmm.boot(&guest, machine(1, 64), &[]);
    assert!(matches!(answer, Answer::Timed(_)), "{answer:?}");
    vmm.resume();
    Some(vmm)
}

/// The guest talks to nobody, and nobody to it.
#[track_caller]
fn assert_unheard(vmm: &mut Vmm, tap: &Tap) {
    let before = vmm.net_stats();
    for _ in 0..A_WHILE {
        tap.say();
        assert_eq!(vmm.next_byte(), b'.');
    }
    assert!(!tap.hears());
    let after = vmm.net_stats();
    assert_eq!(after.from_guest_frames, before.from_guest_frames);
    assert_eq!(after.to_guest_frames, 0);
    assert!(after.dropped_frames > before.dropped_frames);
}

#[track_caller]
fn assert_heard(vmm: &mut Vmm, tap: &Tap) {
    tap.wait();
    while vmm.next_byte() != b'+' {
        tap.say();
    }
    let stats = vmm.net_stats();
    assert!(stats.from_guest_frames > 0 && stats.from_guest_bytes >= 60 * stats.from_guest_frames);
    assert!(stats.to_guest_frames > 0 && stats.to_guest_bytes > stats.to_guest_frames);
}

#[test]
fn a_guest_sees_a_card_if_there_is_one() {
    in_namespace(|| {
        let tap = Tap::new("tap0");
        let Some(mut vmm) = started(&net_guest::looking(), &tap, true) else {
            return;
        };
        assert_eq!(vmm.next_byte(), b'Y');
        let guest = Guest::mini(&net_guest::looking()).unwrap();
        let mut without = Vmm::start();
        without.boot(&guest, machine(1, 64), &[]);
        without.resume();
        assert_eq!(without.next_byte(), b'N');
    });
}

/// All of it within the jail: a card that waits for its turn is reset by the guest again and again.
#[test]
fn frames_pass_while_the_card_is_not_muted_and_within_its_limits() {
    in_namespace(|| {
        let tap = Tap::new("tap0");
        let Some(mut vmm) = started(&net_guest::talking(), &tap, true) else {
            return;
        };
        assert_unheard(&mut vmm, &tap);
        vmm.done(set_net(false));
        assert_heard(&mut vmm, &tap);
        vmm.done(limited(50));
        let before = vmm.net_stats().from_guest_frames;
        while vmm.net_stats().from_guest_frames < before + 5 {
            vmm.next_byte();
        }
        vmm.done(set_net(true));
        vmm.done(Ask::Stop(wire::Stop {}));
        assert!(vmm.wait().success());
    });
}

#[test]
fn a_restored_card_is_muted_or_not_as_it_is_asked_to_be() {
    in_namespace(|| {
        let first = Tap::new("tap0");
        let Some(mut vmm) = started(&net_guest::talking(), &first, false) else {
            return;
        };
        assert_heard(&mut vmm, &first);
        vmm.pause();
        let snapshot = vmm.save(0);
        for (name, muted) in [("tap1", true), ("tap2", false)] {
            let tap = Tap::new(name);
            let mut clone = Vmm::start();
            clone.plug(tap.end(), muted);
            let answer = clone.restore(&snapshot, machine(1, 64), &[]);
            assert!(matches!(answer, Answer::Timed(_)), "{answer:?}");
            clone.resume();
            if muted {
                // What it had received when it was saved.
                clone.next_byte();
                assert_unheard(&mut clone, &tap);
                clone.done(set_net(false));
            }
            assert_heard(&mut clone, &tap);
        }
        // The one that was saved goes on.
        vmm.resume();
        assert_heard(&mut vmm, &first);
    });
}

#[test]
fn a_card_is_saved_and_restored_or_neither() {
    in_namespace(|| {
        let tap = Tap::new("tap0");
        let Some(mut with) = started(&mini_guest::counting(), &tap, true) else {
            return;
        };
        with.pause();
        let snapshot = with.save(0);
        let answer = Vmm::start().restore(&snapshot, machine(1, 64), &[]);
        assert_failure(&answer, Kind::InvalidSnapshot);

        let guest = Guest::mini(&mini_guest::counting()).unwrap();
        let mut without = Vmm::start();
        without.boot(&guest, machine(1, 64), &[]);
        let snapshot = without.save(0);
        let other = Tap::new("tap1");
        let mut vmm = Vmm::start();
        vmm.plug(other.end(), true);
        let answer = vmm.restore(&snapshot, machine(1, 64), &[]);
        assert_failure(&answer, Kind::InvalidSnapshot);
    });
}

#[test]
fn cards_that_make_no_sense_are_refused() {
    let mut vmm = Vmm::start();
    assert_failure(&vmm.ask(set_net(true), &[]), Kind::WrongState);
    let Some(guest) = Guest::mini(&mini_guest::counting()) else {
        return;
    };
    // No tap, and a descriptor that is not there.
    vmm.plug(File::open("/dev/null").unwrap().into(), true);
    let answer = vmm.boot(&guest, machine(1, 64), &[]);
    assert_failure(&answer, Kind::InvalidConfig);
    let mut without = machine(1, 64);
    without.net = Some(wire::Net {
        tap_fd: 77,
        ..Default::default()
    });
    let mut vmm = Vmm::start();
    assert_failure(&vmm.boot(&guest, without, &[]), Kind::InvalidConfig);

    let mut vmm = Vmm::start();
    vmm.boot(&guest, machine(1, 64), &[]);
    assert_failure(&vmm.ask(set_net(false), &[]), Kind::InvalidConfig);
    assert_failure(&vmm.ask(limited(0), &[]), Kind::InvalidConfig);
    vmm.resume();
    vmm.next_byte();
}
