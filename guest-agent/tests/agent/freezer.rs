//! A real cgroup v2 freezer, where this machine lets us have one.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use guest_agent::machine::Freezer;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{UnlinkatFlags, unlinkat};
use protocol::agent::v1 as wire;

use crate::harness::{Guest, Recorder, enter, eventually, shell};

/// A hierarchy of the test's own, removed at the end.
struct Cgroup {
    /// What the hierarchy is a part of.
    parent: OwnedFd,
    name: String,
}

impl Cgroup {
    /// `None`, said aloud, where this machine has none.
    fn new(name: &str) -> Option<(Self, Freezer)> {
        let name = format!("thaw-test-{}-{name}", std::process::id());
        match Self::mounted(&name).or_else(|mounted| {
            Self::private(&name).map_err(|private| format!("{mounted}; {private}"))
        }) {
            Ok(made) => Some(made),
            Err(reason) => {
                // Past the test runner, which shows the output of failed tests only.
                let _ = writeln!(std::io::stderr(), "\nSKIPPED {name}: {reason}");
                None
            }
        }
    }

    fn mounted(name: &str) -> Result<(Self, Freezer), String> {
        let mut reasons = Vec::new();
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            match Self::below(Path::new(root), name) {
                Ok(made) => return Ok(made),
                Err(error) => reasons.push(format!("{root}: {error}")),
            }
        }
        Err(reasons.join("; "))
    }

    /// With a mount that only one thread ever sees; what it has opened outlives it.
    fn private(name: &str) -> Result<(Self, Freezer), String> {
        let mounted = |name: &str| {
            let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
            let (none, private) = (None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
            unshare(CloneFlags::CLONE_NEWNS)
                .and_then(|()| mount(none, "/", none, private, none))
                .and_then(|()| {
                    let (kind, flags) = (Some("cgroup2"), MsFlags::empty());
                    mount(kind, directory.path(), kind, flags, none)
                })
                .map_err(|errno| format!("a private mount: {errno}"))?;
            Self::below(directory.path(), name)
        };
        std::thread::scope(|scope| scope.spawn(|| mounted(name)).join().unwrap())
    }

    fn below(root: &Path, name: &str) -> Result<(Self, Freezer), String> {
        let path = root.join(name);
        std::fs::create_dir(&path).map_err(|error| error.to_string())?;
        let parent = std::fs::File::open(root).map_err(|error| error.to_string())?;
        let cgroup = Self {
            parent: parent.into(),
            name: name.to_owned(),
        };
        if !path.join("cgroup.freeze").exists() {
            return Err("no cgroup v2 with a freezer".to_owned());
        }
        Ok((cgroup, Freezer::create(&path).unwrap()))
    }

    fn path(&self) -> PathBuf {
        let parent = format!("/proc/self/fd/{}", self.parent.as_raw_fd());
        Path::new(&parent).join(&self.name)
    }

    /// A process outside the sandbox's cgroup that lengthens a file.
    fn stray(&self, below: &str, counter: &str) -> Stray {
        let cgroup = self.path().join(below);
        let _ = std::fs::create_dir(&cgroup);
        let line = format!("while :; do echo x >> {counter}; sleep 0.01; done");
        let child = Command::new("sh").args(["-c", &line]).spawn().unwrap();
        std::fs::write(cgroup.join("cgroup.procs"), child.id().to_string()).unwrap();
        Stray(child)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::write(self.path().join("cgroup.kill"), "1");
        for _ in 0..100 {
            for below in ["sandbox", "elsewhere", ""] {
                let path = Path::new(&self.name).join(below);
                let _ = unlinkat(&self.parent, &path, UnlinkatFlags::RemoveDir);
            }
            if !self.path().exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

struct Stray(Child);

impl Drop for Stray {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn size(path: &str) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}

async fn running(freezer: Freezer) -> Guest {
    let machine = Recorder {
        freezer: Some(freezer),
        ..Default::default()
    };
    let mut guest = Guest::booted(machine).await;
    guest.agent.enter(enter(1)).await.unwrap();
    guest
}

#[tokio::test]
async fn processes_are_born_in_the_cgroup_and_stand_still_while_frozen() {
    let Some((_cgroup, freezer)) = Cgroup::new("born") else {
        return;
    };
    let mut guest = running(freezer).await;
    let counter = guest.path("counter");
    let line = format!("while :; do echo x >> {counter}; sleep 0.01; done");
    guest.processes.spawn(shell(&line)).await.unwrap();
    eventually("it counts", || size(&counter) > 4).await;

    let frozen = guest
        .agent
        .freeze(wire::FreezeRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(frozen.frozen_processes >= 1);
    let still = size(&counter);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(size(&counter), still);

    guest.agent.enter(enter(2)).await.unwrap();
    eventually("it counts on", || size(&counter) > still).await;
}

#[tokio::test]
async fn the_cgroup_is_the_root_of_what_a_program_sees() {
    let Some((_cgroup, freezer)) = Cgroup::new("root") else {
        return;
    };
    let mut guest = running(freezer).await;
    let own = guest.sh("grep ^0:: /proc/self/cgroup").await;
    assert_eq!(own.text(), "0::/\n");
    let hers = guest.sh("readlink /proc/self/ns/cgroup").await;
    let ours = std::fs::read_link("/proc/self/ns/cgroup").unwrap();
    assert_ne!(hers.text().trim(), ours.to_str().unwrap());
}

#[tokio::test]
async fn strays_are_brought_back_and_frozen() {
    let Some((cgroup, freezer)) = Cgroup::new("strays") else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    for below in ["", "elsewhere"] {
        let counter = directory.path().join(format!("counter-{below}"));
        let counter = counter.to_str().unwrap();
        let _stray = cgroup.stray(below, counter);
        eventually("it counts", || size(counter) > 4).await;

        assert!(freezer.freeze().unwrap() >= 1);
        let still = size(counter);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(size(counter), still, "{below:?}");

        freezer.thaw().unwrap();
        eventually("it counts on", || size(counter) > still).await;
    }
}

#[test]
fn an_empty_cgroup_freezes_and_thaws() {
    let Some((_cgroup, freezer)) = Cgroup::new("empty") else {
        return;
    };
    for _ in 0..3 {
        assert_eq!(freezer.freeze().unwrap(), 0);
        freezer.thaw().unwrap();
    }
}
