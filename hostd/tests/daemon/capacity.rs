//! Limits of the host.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::future::join_all;
use nix::sys::signal::Signal;
use tonic::Code;
use tonic_types::StatusExt;

use crate::host::{Host, PATIENCE, reason, skip, vmm_pids};

#[tokio::test]
async fn a_full_host_says_so_and_has_room_again_later() {
    let host = Host::start_with(&["--max-sandboxes", "2"]).await;
    let first = host.boot("").await.unwrap().id;
    host.boot("").await.unwrap();
    let full = host.boot("").await.unwrap_err();
    assert_eq!(
        (full.code(), reason(&full).as_str()),
        (Code::ResourceExhausted, "CAPACITY")
    );
    assert!(full.get_error_details().quota_failure().is_some());
    host.kill(&first).await;
    host.boot("").await.unwrap();
}

#[tokio::test]
async fn many_in_a_row_and_at_once_leave_nothing() {
    let host = Host::start().await;
    for _ in 0..10 {
        let id = host.boot("").await.unwrap().id;
        host.kill(&id).await;
    }
    let all = join_all((0..8).map(|_| host.boot(""))).await;
    join_all(
        all.into_iter()
            .map(|sandbox| async { host.kill(&sandbox.unwrap().id).await }),
    )
    .await;
    host.assert_clean().await;
}

#[tokio::test]
async fn an_idle_vmm_that_dies_leaves_no_cgroup() {
    let host = Host::start().await;
    host.boot("").await.unwrap();
    let mount = hostd::host::cgroup::mount_point().unwrap_or_default();
    let vmms: Vec<(i32, PathBuf)> = vmm_pids(host.temp.path())
        .into_iter()
        .filter_map(|pid| Some((pid, cgroup_of(&mount, pid)?)))
        .collect();
    if vmms.is_empty() {
        return skip("this host has no cgroup v2 that tests may write to");
    }
    for (pid, cgroup) in vmms {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        let started = Instant::now();
        while cgroup.exists() {
            assert!(started.elapsed() < PATIENCE, "{cgroup:?} is left");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn a_vmm_may_take_its_guest_s_memory_and_little_more() {
    let host = Host::start().await;
    host.boot("").await.unwrap();
    let mount = hostd::host::cgroup::mount_point().unwrap_or_default();
    let pids = vmm_pids(host.temp.path());
    let limits: Vec<String> = pids
        .iter()
        .filter_map(|pid| std::fs::read_to_string(cgroup_of(&mount, *pid)?.join("memory.max")).ok())
        .filter(|limit| limit.trim() != "max")
        .collect();
    if limits.is_empty() {
        return skip("vmms have no limits here: no cgroup v2, or the state directory in memory");
    }
    // The pool's has none yet.
    let [limit] = limits.as_slice() else {
        panic!("{limits:?}")
    };
    let limit: u64 = limit.trim().parse().unwrap();
    assert!((1 << 30..2 << 30).contains(&limit), "{limit}");
}

/// The cgroup of a vmm that lives, if it has one of its own.
fn cgroup_of(mount: &Path, pid: i32) -> Option<PathBuf> {
    let own = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let path = mount.join(path);
    path.ends_with(format!("vmm-{pid}")).then_some(path)
}
