//! Guests, agents and vmms that misbehave: each a typed error, no hang, nothing left.

use std::time::{Duration, Instant};

use protocol::hostd::v1::{CreateSandboxRequest, ListSandboxesRequest, SandboxState};
use tonic::Code;

use crate::host::{Host, boot_request, reason};

async fn fails(trouble: &str, code: Code, expected: &str) {
    let host = Host::start().await;
    let boot_timeout = Some(prost_types::Duration {
        seconds: 1,
        nanos: 500_000_000,
    });
    let started = Instant::now();
    let status = host
        .create(CreateSandboxRequest {
            boot_timeout,
            ..boot_request(trouble)
        })
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (code, expected),
        "{status:?}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{trouble} took {:?}",
        started.elapsed()
    );
    host.assert_clean().await;

    let failed = ListSandboxesRequest {
        states: vec![SandboxState::Failed.into()],
        ..Default::default()
    };
    let records = host
        .sandboxes()
        .list(failed)
        .await
        .unwrap()
        .into_inner()
        .sandboxes;
    assert_eq!(records.len(), 1);
    assert_eq!(
        records[0].failure.as_ref().unwrap().reason,
        expected.to_lowercase()
    );
    // The host is none the worse for it.
    host.boot("").await.unwrap();
}

#[tokio::test]
async fn a_guest_without_an_agent() {
    fails("no-agent", Code::DeadlineExceeded, "BOOT_TIMEOUT").await;
}

#[tokio::test]
async fn an_agent_that_accepts_and_is_silent() {
    fails("silent", Code::DeadlineExceeded, "BOOT_TIMEOUT").await;
}

#[tokio::test]
async fn an_agent_that_talks_garbage() {
    fails("garbage", Code::Internal, "AGENT_PROTOCOL").await;
}

#[tokio::test]
async fn an_agent_that_talks_without_end() {
    fails("endless", Code::Internal, "AGENT_PROTOCOL").await;
}

#[tokio::test]
async fn a_guest_that_resets_connections_while_it_comes_up() {
    let host = Host::start().await;
    host.boot("resets-first").await.unwrap();
}

#[tokio::test]
async fn an_agent_with_megabytes_for_a_version() {
    fails("big-hello", Code::Internal, "AGENT_PROTOCOL").await;
}

#[tokio::test]
async fn an_agent_that_enters_another_epoch() {
    fails("wrong-epoch", Code::Internal, "AGENT_PROTOCOL").await;
}

#[tokio::test]
async fn a_vmm_that_dies_at_boot() {
    fails("dies-at-boot", Code::Internal, "VMM_DIED").await;
}

#[tokio::test]
async fn a_vmm_that_talks_garbage() {
    fails("bad-reply", Code::Internal, "HOST_ERROR").await;
}

#[tokio::test]
async fn a_vmm_that_cannot_be_started() {
    let host = Host::start_with(&["--vmm-pool", "0"]).await;
    // Not written over: hostd may be measuring the CPU with it, and a program that runs is busy.
    let vmm = host.temp.path().join("vmm");
    std::fs::remove_file(&vmm).unwrap();
    std::fs::write(&vmm, "#!/nonexistent\n").unwrap();
    let status = host.boot("").await.unwrap_err();
    assert_eq!(reason(&status), "HOST_ERROR");
    assert!(status.message().contains("vmm"), "{}", status.message());
    host.assert_clean().await;
}
