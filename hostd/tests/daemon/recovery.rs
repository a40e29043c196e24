//! `kill -9` of hostd, and an orderly end: what the next start finds, and leaves.

use std::fs;

use protocol::hostd::v1::SandboxState;

use crate::host::{Host, command, socket, vmm_pids};

#[tokio::test]
async fn after_a_crash_nothing_is_left_and_the_records_are_true() {
    let host = Host::start().await;
    let running = host.boot("").await.unwrap().id;
    let killed = host.boot("").await.unwrap().id;
    host.kill(&killed).await;
    let lingering = host.boot("lingers").await.unwrap().id;
    let old = vmm_pids(host.temp.path());
    assert!(old.len() >= 2);
    let temp = host.crash().await;
    fs::write(temp.path().join("state/run/garbage"), "").unwrap();

    let host = Host::start_in(temp, &[]).await;
    for id in [&running, &lingering] {
        let record = host.get(id).await;
        assert_eq!(
            (record.state(), record.end_reason.as_str()),
            (SandboxState::Failed, "host_restarted")
        );
        assert_eq!(record.failure.unwrap().reason, "host_restarted");
        assert!(record.ended_at.is_some());
    }
    assert_eq!(host.get(&killed).await.end_reason, "killed");
    let left: Vec<i32> = vmm_pids(host.temp.path())
        .into_iter()
        .filter(|pid| old.contains(pid))
        .collect();
    assert!(left.is_empty(), "orphans {left:?}");
    host.assert_clean().await;
    host.boot("").await.unwrap();
}

#[tokio::test]
async fn a_hostd_that_is_told_its_state_directory_by_a_variable_is_no_orphan() {
    let host = Host::start().await;
    let lingering = host.boot("lingers").await.unwrap().id;
    let temp = host.crash().await;

    let host = Host::start_by_variable(temp).await;
    assert_eq!(host.get(&lingering).await.end_reason, "host_restarted");
    host.assert_clean().await;
    host.boot("").await.unwrap();
    host.stop().await;
}

#[tokio::test]
async fn an_orderly_end_ends_the_sandboxes() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let mut outputs = host
        .sandboxes()
        .watch(protocol::hostd::v1::WatchRequest::default())
        .await
        .unwrap()
        .into_inner();
    let temp = host.stop().await;
    // The watcher is let go of, not cut off in the middle of a message.
    while let Ok(Some(_)) = outputs.message().await {}
    assert!(vmm_pids(temp.path()).is_empty());
    assert_eq!(
        fs::read_dir(temp.path().join("state/run")).unwrap().count(),
        0
    );
    assert!(!socket(temp.path()).exists());

    let host = Host::start_in(temp, &[]).await;
    let record = host.get(&id).await;
    assert_eq!(
        (record.state(), record.end_reason.as_str()),
        (SandboxState::Stopped, "host_stopped")
    );
}

#[tokio::test]
async fn a_terminal_that_goes_away_is_an_orderly_end() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let temp = host.stop_by(nix::sys::signal::Signal::SIGHUP).await;
    assert!(vmm_pids(temp.path()).is_empty());
    let host = Host::start_in(temp, &[]).await;
    assert_eq!(host.get(&id).await.end_reason, "host_stopped");
}

#[tokio::test]
async fn a_second_hostd_is_refused() {
    let host = Host::start().await;
    let output = command(host.temp.path(), &[])
        .stderr(std::process::Stdio::piped())
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("another hostd runs"), "{message}");
    host.boot("").await.unwrap();
}
