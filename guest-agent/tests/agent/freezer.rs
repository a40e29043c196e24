//! A real cgroup v2 freezer, where this machine lets us have one.

use std::path::PathBuf;
use std::time::Duration;

use guest_agent::machine::Freezer;
use protocol::agent::v1 as wire;

use crate::harness::{Guest, Recorder, enter, eventually, shell};

/// A cgroup of the test's own, removed at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    /// `Err` is why this machine has none.
    fn new(name: &str) -> Result<(Self, Freezer), String> {
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            let path = PathBuf::from(root).join(format!("thaw-test-{}-{name}", std::process::id()));
            if std::fs::create_dir(&path).is_ok() {
                let cgroup = Self(path.clone());
                if path.join("cgroup.freeze").exists() {
                    return Ok((cgroup, Freezer::create(&path).unwrap()));
                }
            }
        }
        Err("no writable cgroup v2".to_owned())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::write(self.0.join("cgroup.kill"), "1");
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[tokio::test]
async fn processes_are_born_in_the_cgroup_and_stand_still_while_frozen() {
    let (_cgroup, freezer) = match Cgroup::new("born") {
        Ok(made) => made,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    let machine = Recorder {
        freezer: Some(freezer),
        ..Default::default()
    };
    let mut guest = Guest::booted(machine).await;
    guest.agent.enter(enter(1)).await.unwrap();
    let counter = guest.path("counter");
    let line = format!("while :; do echo x >> {counter}; sleep 0.01; done");
    guest.processes.spawn(shell(&line)).await.unwrap();
    let size = || std::fs::metadata(&counter).map_or(0, |found| found.len());
    eventually("it counts", || size() > 4).await;

    let frozen = guest
        .agent
        .freeze(wire::FreezeRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(frozen.frozen_processes >= 1);
    let still = size();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(size(), still);

    guest.agent.enter(enter(2)).await.unwrap();
    eventually("it counts on", || size() > still).await;
}

#[test]
fn an_empty_cgroup_freezes_and_thaws() {
    let (_cgroup, freezer) = match Cgroup::new("empty") {
        Ok(made) => made,
        Err(reason) => return eprintln!("skipped: {reason}"),
    };
    for _ in 0..3 {
        assert_eq!(freezer.freeze().unwrap(), 0);
        freezer.thaw().unwrap();
    }
}
