//! A guest's life from boot to end.

use protocol::vmm::v1 as wire;
use wire::event::Kind;
use wire::reply::Reply as Answer;
use wire::request::Request as Ask;

use super::harness::{Guest, Vmm, machine, probe, skip};
use super::mini_guest;

fn started(code: &[u8], vcpus: u32, memory_mib: u64) -> Option<Vmm> {
    let guest = Guest::mini(code)?;
    let mut vmm = Vmm::start();
    let answer = vmm.boot(&guest, machine(vcpus, memory_mib), &[]);
    assert!(matches!(answer, Answer::Timed(_)), "{answer:?}");
    vmm.resume();
    Some(vmm)
}

#[test]
fn pausing_stops_a_guest_and_resuming_lets_it_go_on() {
    let Some(mut vmm) = started(&mini_guest::counting(), 1, 64) else {
        return;
    };
    vmm.next_byte();
    for _ in 0..20 {
        vmm.pause();
        let printed = vmm.drain_console();
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert_eq!(vmm.drain_console(), "");
        vmm.resume();
        let next = vmm.next_byte();
        if let Some(last) = printed.bytes().last() {
            assert_eq!(next, mini_guest::next_digit(last));
        }
    }
}

#[test]
fn a_guest_that_ends_is_reported_with_its_reason() {
    let ends = [
        (mini_guest::powering_off(), Kind::PoweredOff),
        (mini_guest::resetting(), Kind::Reset),
        (mini_guest::triple_faulting(), Kind::Reset),
    ];
    for (code, kind) in ends {
        if code == mini_guest::triple_faulting() && !probe().contains(r#""kvm":"ok""#) {
            skip("a KVM that interprets guests may not know exceptions");
            continue;
        }
        let Some(mut vmm) = started(&code, 1, 64) else {
            return;
        };
        let event = vmm.event();
        assert_eq!(event.kind(), kind, "{}", event.message);
        // It stands still for good, and can still be asked for its counters.
        assert!(vmm.stats().0 > 0);
        let answer = vmm.ask(Ask::Resume(wire::Resume {}), &[]);
        assert!(matches!(answer, Answer::Failure(_)));
        vmm.done(Ask::Stop(wire::Stop {}));
        assert!(vmm.wait().success());
    }
}

#[test]
fn addresses_that_nobody_has_do_no_harm() {
    let Some(mut vmm) = started(&mini_guest::trespassing(), 1, 64) else {
        return;
    };
    vmm.wait_for("!");
}

#[test]
fn the_largest_machine_starts() {
    let Some(mut vmm) = started(&mini_guest::counting(), 8, 16 << 10) else {
        return;
    };
    vmm.next_byte();
    vmm.pause();
    vmm.resume();
    vmm.next_byte();
}

#[test]
fn the_process_ends_when_hostd_hangs_up() {
    let Some(mut vmm) = started(&mini_guest::counting(), 2, 64) else {
        return;
    };
    vmm.next_byte();
    assert!(vmm.hang_up().success());
    // One that nobody ever asked for anything, too.
    assert!(Vmm::start().hang_up().success());
}
