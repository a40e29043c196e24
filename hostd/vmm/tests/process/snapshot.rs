//! Saving and restoring, and what happens when what was saved is not what is restored.

use std::time::Duration;

use protocol::vmm::v1 as wire;
use wire::failure::Kind;
use wire::reply::Reply as Answer;

use super::harness::{Disk, Guest, Snapshot, Vmm, machine};
use super::mini_guest;

const MEMORY_MIB: u64 = 64;

/// A counting guest's snapshot and the last digit that it printed.
fn snapshot(vcpus: u32, disks: &[Disk]) -> Option<(Snapshot, u8)> {
    let guest = Guest::mini(&mini_guest::counting())?;
    let mut vmm = Vmm::start();
    let answer = vmm.boot(&guest, machine(vcpus, MEMORY_MIB), disks);
    assert!(matches!(answer, Answer::Timed(_)), "{answer:?}");
    vmm.resume();
    let first = vmm.next_byte();
    vmm.pause();
    let last = vmm.drain_console().bytes().last().unwrap_or(first);
    let writable = |disk: &&Disk| matches!(disk, Disk::Writable { .. });
    let snapshot = vmm.save(disks.iter().filter(writable).count());
    // The machine that was saved goes on.
    vmm.resume();
    assert_eq!(vmm.next_byte(), mini_guest::next_digit(last));
    Some((snapshot, last))
}

#[test]
fn clones_go_on_where_the_guest_was_saved() {
    let Some((snapshot, last)) = snapshot(1, &[]) else {
        return;
    };
    for _ in 0..3 {
        let mut clone = Vmm::start();
        let answer = clone.restore(&snapshot, machine(1, MEMORY_MIB), &[]);
        assert!(matches!(answer, Answer::Timed(_)), "{answer:?}");
        assert_eq!(clone.drain_console(), "", "it is paused");
        clone.resume();
        assert_eq!(clone.next_byte(), mini_guest::next_digit(last));
    }
}

/// Saved in its first second and restored into a machine that is about as old: KVM would rather keep
/// the counter of that one.
#[test]
fn the_time_stamp_counter_goes_on_from_where_it_was_saved() {
    let Some(guest) = Guest::mini(&mini_guest::watching_the_clock()) else {
        return;
    };
    let mut vmm = Vmm::start();
    vmm.boot(&guest, machine(2, MEMORY_MIB), &[]);
    vmm.resume();
    assert_eq!(vmm.next_byte(), b'.');
    std::thread::sleep(Duration::from_millis(300));
    vmm.pause();
    let snapshot = vmm.save(0);
    for _ in 0..2 {
        let mut clone = Vmm::start();
        let answer = clone.restore(&snapshot, machine(2, MEMORY_MIB), &[]);
        assert!(matches!(answer, Answer::Timed(_)), "{answer:?}");
        clone.resume();
        for _ in 0..3 {
            assert_eq!(clone.next_byte(), b'.');
        }
    }
}

#[test]
fn a_clone_can_be_saved_and_restored_again() {
    let Some((first, _)) = snapshot(1, &[]) else {
        return;
    };
    let mut clone = Vmm::start();
    clone.restore(&first, machine(1, MEMORY_MIB), &[]);
    clone.resume();
    let printed = clone.next_byte();
    clone.pause();
    let last = clone.drain_console().bytes().last().unwrap_or(printed);
    let second = clone.save(0);
    assert_eq!(second.saved.memory_bytes, MEMORY_MIB << 20);
    let mut grandchild = Vmm::start();
    grandchild.restore(&second, machine(1, MEMORY_MIB), &[]);
    grandchild.resume();
    assert_eq!(grandchild.next_byte(), mini_guest::next_digit(last));
}

#[test]
fn all_vcpus_and_disks_come_back() {
    let disk = || {
        let base = tempfile::tempfile().unwrap();
        base.set_len(1 << 20).unwrap();
        base
    };
    let disks = [
        Disk::ReadOnly(disk()),
        Disk::Writable {
            base: disk(),
            layer: None,
        },
    ];
    let Some((mut snapshot, last)) = snapshot(8, &disks) else {
        return;
    };
    let disks = [
        Disk::ReadOnly(disk()),
        Disk::Writable {
            base: disk(),
            layer: Some(snapshot.layers.remove(0)),
        },
    ];
    let mut clone = Vmm::start();
    let answer = clone.restore(&snapshot, machine(8, MEMORY_MIB), &disks);
    assert!(matches!(answer, Answer::Timed(_)), "{answer:?}");
    clone.resume();
    assert_eq!(clone.next_byte(), mini_guest::next_digit(last));
}

#[track_caller]
fn assert_damaged(answer: &Answer) {
    match answer {
        Answer::Failure(failure) => {
            assert_eq!(failure.kind(), Kind::InvalidSnapshot, "{}", failure.message);
        }
        other => panic!("{other:?} is no failure"),
    }
}

#[test]
fn another_machine_than_the_saved_one_is_refused() {
    let Some((snapshot, _)) = snapshot(1, &[]) else {
        return;
    };
    let mut other_cid = machine(1, MEMORY_MIB);
    other_cid.vsock_cid = 7;
    for other in [
        machine(2, MEMORY_MIB),
        machine(1, 2 * MEMORY_MIB),
        other_cid,
    ] {
        assert_damaged(&Vmm::start().restore(&snapshot, other, &[]));
    }
}

#[test]
fn a_template_of_another_size_is_refused() {
    let Some((mut snapshot, _)) = snapshot(1, &[]) else {
        return;
    };
    snapshot.template = tempfile::tempfile().unwrap();
    snapshot.template.set_len(1 << 20).unwrap();
    assert_damaged(&Vmm::start().restore(&snapshot, machine(1, MEMORY_MIB), &[]));
}

#[test]
fn a_damaged_state_is_refused_wherever_it_is_damaged() {
    let Some((snapshot, _)) = snapshot(1, &[]) else {
        return;
    };
    let state = snapshot.state_bytes();
    let restore = |bytes: &[u8]| {
        let damaged = snapshot.with_state(bytes);
        Vmm::start().restore(&damaged, machine(1, MEMORY_MIB), &[])
    };
    for length in (0..state.len()).step_by(state.len() / 20) {
        assert_damaged(&restore(&state[..length]));
    }
    for position in (0..state.len()).step_by(state.len() / 40) {
        let mut flipped = state.clone();
        flipped[position] ^= 1 << (position % 8);
        assert_damaged(&restore(&flipped));
    }
}

/// Whoever can write the file can also compute its checksum: then the contents have to be checked.
#[test]
fn a_state_with_a_right_checksum_and_wrong_contents_ends_nothing_but_the_restore() {
    let Some((snapshot, _)) = snapshot(1, &[]) else {
        return;
    };
    let payload = snapshots::state::read_state(&snapshot.state).unwrap();
    for position in (0..payload.len()).step_by(payload.len() / 150) {
        let mut forged = payload.clone();
        forged[position] ^= 0xff;
        let file = tempfile::tempfile().unwrap();
        snapshots::state::write_state(&file, &forged).unwrap();
        let mut vmm = Vmm::start();
        let mut damaged = snapshot.with_state(&[]);
        damaged.state = file;
        match vmm.restore(&damaged, machine(1, MEMORY_MIB), &[]) {
            // Some bits are the guest's business: another value of a register is as good as any.
            Answer::Timed(_) => {
                vmm.resume();
                vmm.pause_or_ended();
            }
            Answer::Failure(_) => {}
            other => panic!("{other:?}"),
        }
        vmm.done(wire::request::Request::Stop(wire::Stop {}));
        assert!(vmm.wait().success(), "at byte {position}");
    }
}
