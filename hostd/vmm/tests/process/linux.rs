//! A real kernel, for measuring: it needs a guest from the environment and a fit KVM.

use std::time::Instant;

use super::harness::{Guest, Vmm, machine};
use protocol::vmm::v1 as wire;
use wire::reply::Reply as Answer;

fn print_stages(what: &str, answer: &Answer, started: Instant) {
    let Answer::Timed(timed) = answer else {
        panic!("{what}: {answer:?}");
    };
    println!("{what}: answered after {:?}", started.elapsed());
    for stage in &timed.stages {
        println!("  {:>12}: {:6} us", stage.name, stage.nanos / 1000);
    }
}

/// The guest's init says `ready`, then counts: `tick 0`, `tick 1`, …
#[test]
fn a_restored_guest_goes_on_counting() {
    let Some(guest) = Guest::linux() else { return };
    let mut vmm = Vmm::start();
    let started = Instant::now();
    let answer = vmm.boot(&guest, machine(1, 256), &[]);
    print_stages("boot", &answer, started);
    vmm.resume();
    vmm.wait_for("ready");
    println!("guest ready after {:?}", started.elapsed());
    let (exits, counters) = vmm.stats();
    println!("exits in a cold boot: {exits}");
    for (name, value) in counters.iter().filter(|(_, value)| **value > 0) {
        println!("  {name}: {value}");
    }
    vmm.wait_for("tick 5");
    vmm.pause();
    let started = Instant::now();
    let snapshot = vmm.save(0);
    println!(
        "saved after {:?}: {:?}",
        started.elapsed(),
        snapshot.saved.stored_bytes
    );
    vmm.resume();
    vmm.wait_for("tick 8");

    for _ in 0..2 {
        let mut clone = Vmm::start();
        std::thread::sleep(std::time::Duration::from_millis(200));
        let started = Instant::now();
        let answer = clone.restore(&snapshot, machine(1, 256), &[]);
        print_stages("restore", &answer, started);
        clone.resume();
        println!("resumed after {:?}", started.elapsed());
        // The save came somewhere within or after the line of tick 5.
        clone.wait_for("tick 6");
        println!("first tick after {:?}", started.elapsed());
        clone.wait_for("tick 9");
    }
}
