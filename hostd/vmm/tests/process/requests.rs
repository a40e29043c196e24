//! Requests that are wrong, or come at the wrong time: each is answered, and the vmm lives on.

use std::fs::File;

use protocol::vmm::v1 as wire;
use wire::failure::Kind;
use wire::reply::Reply as Answer;
use wire::request::Request as Ask;

use super::harness::{Disk, Guest, Vmm, assert_failure, machine};
use super::mini_guest;

#[test]
fn requests_without_a_machine_are_refused() {
    let mut vmm = Vmm::start();
    let early = [
        Ask::Pause(wire::Pause {}),
        Ask::Resume(wire::Resume {}),
        Ask::Save(wire::Save::default()),
        Ask::Stats(wire::Stats {}),
        Ask::SetBalloon(wire::SetBalloon { bytes: 0 }),
    ];
    for request in early {
        assert_failure(&vmm.ask(request, &[]), Kind::WrongState);
    }
}

#[test]
fn descriptions_that_make_no_sense_are_refused_and_a_good_one_still_works() {
    let Some(guest) = Guest::mini(&mini_guest::counting()) else {
        return;
    };
    let mut vmm = Vmm::start();
    let no_machine = Ask::Boot(wire::Boot::default());
    assert_failure(&vmm.ask(no_machine, &[]), Kind::InvalidConfig);
    let no_descriptors = Ask::Boot(wire::Boot {
        machine: Some(machine(1, 64)),
        ..Default::default()
    });
    assert_failure(&vmm.ask(no_descriptors, &[]), Kind::InvalidConfig);
    for (vcpus, memory_mib) in [(0, 64), (9, 64), (1, 63), (1, (16 << 10) + 2)] {
        let mut other = Vmm::start();
        let answer = other.boot(&guest, machine(vcpus, memory_mib), &[]);
        assert_failure(&answer, Kind::InvalidConfig);
    }
    assert!(matches!(
        vmm.boot(&guest, machine(1, 64), &[]),
        Answer::Timed(_)
    ));
    vmm.resume();
    vmm.next_byte();
}

#[test]
fn packets_that_are_no_requests_are_answered() {
    let mut vmm = Vmm::start();
    let packets: [&[u8]; 4] = [&[0xff; 100], &[0x12], &[0x08, 0x01], &[0; 1]];
    for packet in packets {
        vmm.send(packet, &[]);
        let reply = vmm.receive().unwrap();
        assert_failure(&reply.reply.unwrap(), Kind::InvalidConfig);
    }
    vmm.done(Ask::Stop(wire::Stop {}));
}

#[test]
fn kernels_that_are_none_are_refused() {
    let Some(mut guest) = Guest::mini(&mini_guest::counting()) else {
        return;
    };
    for kernel in [
        File::open("/dev/null").unwrap(),
        File::open("/proc/self/exe").unwrap(),
        mini_guest::initramfs(),
    ] {
        guest.kernel = kernel;
        let answer = Vmm::start().boot(&guest, machine(1, 64), &[]);
        assert_failure(&answer, Kind::InvalidConfig);
    }
}

#[test]
fn a_command_line_that_is_too_long_is_refused() {
    let Some(mut guest) = Guest::mini(&mini_guest::counting()) else {
        return;
    };
    for cmdline in ["x".repeat(2048), "a\0b".into()] {
        guest.cmdline = cmdline;
        let answer = Vmm::start().boot(&guest, machine(1, 64), &[]);
        assert_failure(&answer, Kind::InvalidConfig);
    }
}

#[test]
fn requests_at_the_wrong_time_are_refused() {
    let Some(guest) = Guest::mini(&mini_guest::counting()) else {
        return;
    };
    let mut vmm = Vmm::start();
    vmm.boot(&guest, machine(1, 64), &[]);
    let pause = || Ask::Pause(wire::Pause {});
    assert_failure(&vmm.ask(pause(), &[]), Kind::WrongState);
    vmm.resume();
    assert_failure(
        &vmm.ask(Ask::Resume(wire::Resume {}), &[]),
        Kind::WrongState,
    );
    let save = Ask::Save(wire::Save::default());
    assert_failure(&vmm.ask(save, &[]), Kind::WrongState);
    let again = Ask::Boot(wire::Boot::default());
    assert_failure(&vmm.ask(again, &[]), Kind::WrongState);
    let balloon = Ask::SetBalloon(wire::SetBalloon { bytes: u64::MAX });
    assert_failure(&vmm.ask(balloon, &[]), Kind::InvalidConfig);
    vmm.done(Ask::SetBalloon(wire::SetBalloon { bytes: 1 << 20 }));
    vmm.next_byte();
}

#[test]
fn a_save_without_files_for_its_disks_is_refused() {
    let Some(guest) = Guest::mini(&mini_guest::counting()) else {
        return;
    };
    let mut vmm = Vmm::start();
    vmm.boot(&guest, machine(1, 64), &[writable_disk()]);
    let save = Ask::Save(wire::Save::default());
    assert_failure(&vmm.ask(save, &[]), Kind::InvalidConfig);
    assert!(vmm.save(1).saved.stored_bytes > 0);
}

fn writable_disk() -> Disk {
    let base = tempfile::tempfile().unwrap();
    base.set_len(1 << 20).unwrap();
    Disk::Writable { base, layer: None }
}
