//! What a running vmm may not do any more.

use std::fs;

use super::harness::{Guest, Vmm, machine, skip};
use super::mini_guest;

/// A field of a thread's status.
fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line[name.len()..].trim()
}

#[test]
fn every_thread_is_locked_up_before_the_guest_runs() {
    let Some(guest) = Guest::mini(&mini_guest::counting()) else {
        return;
    };
    let mut vmm = Vmm::start();
    vmm.boot(&guest, machine(2, 64), &[]);
    vmm.resume();
    vmm.next_byte();
    let root = nix::unistd::geteuid().is_root();
    let mut threads = 0;
    for task in fs::read_dir(format!("/proc/{}/task", vmm.pid())).unwrap() {
        let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        threads += 1;
        assert_eq!(field(&status, "NoNewPrivs:"), "1");
        assert_eq!(field(&status, "Seccomp:"), "2");
        assert_eq!(field(&status, "CapEff:"), "0000000000000000");
        if root {
            assert_eq!(field(&status, "Uid:"), "65534\t65534\t65534\t65534");
            assert_eq!(field(&status, "CapBnd:"), "0000000000000000");
        }
    }
    // One for devices, one for each vCPU, and perhaps one that KVM itself has added.
    assert!(threads >= 3);
}

#[test]
fn nothing_of_the_host_is_in_reach() {
    let vmm = Vmm::start();
    if !nix::unistd::geteuid().is_root() {
        return skip("only root sees another process's namespaces");
    }
    // It is locked up once it sleeps waiting for its first request.
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    let its = |name: &str| fs::read_link(format!("/proc/{}/ns/{name}", vmm.pid())).unwrap();
    let waiting = || {
        let wchan = fs::read_to_string(format!("/proc/{}/status", vmm.pid())).unwrap();
        field(&wchan, "Seccomp:") == "2"
    };
    while !waiting() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    for name in ["mnt", "net", "ipc", "uts"] {
        assert_ne!(own(name), its(name), "{name}");
    }
    let root = fs::read_dir(format!("/proc/{}/root", vmm.pid())).unwrap();
    assert_eq!(root.count(), 0, "its root directory is empty");
}
