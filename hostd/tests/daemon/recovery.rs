//! `kill -9` of hostd, and an orderly end: what the next start finds, and leaves.

use std::fs;

use protocol::hostd::v1::{ListSandboxesRequest, SandboxState};

use crate::host::{Host, boot_request, command, reason, socket, vmm_pids};

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
    // The watcher is told of the end, and then let go of, not cut off.
    let mut last = None;
    while let Some(event) = outputs.message().await.unwrap() {
        last = event.sandbox;
    }
    let last = last.expect("the watcher was told nothing");
    assert_eq!(
        (last.id, last.end_reason.as_str()),
        (id.clone(), "host_stopped")
    );
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
async fn a_create_in_flight_at_the_end_leaves_nothing() {
    let host = Host::start().await;
    let mut sandboxes = host.sandboxes();
    let create = tokio::spawn(async move { sandboxes.create(boot_request("silent")).await });
    while is_idle(&host).await {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let temp = host.stop().await;
    assert_eq!(reason(&create.await.unwrap().unwrap_err()), "SANDBOX_ENDED");
    assert!(vmm_pids(temp.path()).is_empty());
    let run = temp.path().join("state/run");
    assert_eq!(fs::read_dir(run).unwrap().count(), 0);

    let host = Host::start_in(temp, &[]).await;
    let ended = ListSandboxesRequest {
        states: vec![SandboxState::Stopped.into()],
        ..Default::default()
    };
    let ended = host.sandboxes().list(ended).await.unwrap().into_inner();
    let reasons: Vec<&str> = ended
        .sandboxes
        .iter()
        .map(|sandbox| sandbox.end_reason.as_str())
        .collect();
    assert_eq!(reasons, ["host_stopped"]);
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

/// Whether no sandbox lives or is made.
async fn is_idle(host: &Host) -> bool {
    let request = ListSandboxesRequest::default();
    let listed = host.sandboxes().list(request).await.unwrap();
    listed.into_inner().sandboxes.is_empty()
}
