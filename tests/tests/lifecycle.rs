//! Create, list, watch, pause, time out, end; and what is left afterwards.
#![allow(missing_docs)]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use protocol::hostd::v1::create_sandbox_request::Source;
use protocol::hostd::v1::{
    CreateSandboxRequest, ExtendTimeoutRequest, GetSandboxRequest, GetSnapshotRequest,
    KillSandboxRequest, ListSandboxesRequest, SandboxState, SandboxStatsRequest, WatchRequest,
};
use tests::process::shell;
use tests::refusal::{bad_field, code_of, expect};
use tests::{Host, Result, Sandbox, suite};
use tonic::Code;

suite!(
    fifty_in_a_row_leave_nothing,
    eight_at_once_leave_nothing,
    pages_and_labels,
    watchers_see_every_state,
    a_watched_sandbox_is_told_at_once,
    pause_and_resume,
    a_timeout_ends_it,
    a_timeout_can_be_extended,
    killing_twice_is_no_error,
    unknown_ids,
    impossible_sizes,
    odd_requests,
    ended_sandboxes_take_no_commands,
    a_sandbox_has_its_environment,
);

async fn fifty_in_a_row_leave_nothing(host: Arc<Host>) -> Result {
    // What is made once and kept (templates, pools) is there after the first.
    echo(&host, 0).await?;
    let before = host.footprint();
    for number in 1..=50 {
        echo(&host, number)
            .await
            .with_context(|| format!("number {number}"))?;
    }
    host.settles_to(&before).await
}

async fn eight_at_once_leave_nothing(host: Arc<Host>) -> Result {
    echo(&host, 0).await?;
    let before = host.footprint();
    try_join_all((1..=8).map(|number| echo(&host, number))).await?;
    host.settles_to(&before).await
}

/// A whole life: create, exec, kill.
async fn echo(host: &Arc<Host>, number: u32) -> Result {
    let sandbox = host.create().await?;
    let line = format!("echo $(({number} * {number}))");
    ensure!(sandbox.says(&line).await? == (number * number).to_string());
    let ended = sandbox.kill().await?;
    ensure!(ended.state() == SandboxState::Stopped, "{ended:?}");
    ensure!(ended.end_reason == "killed", "{ended:?}");
    Ok(())
}

async fn labelled(host: &Arc<Host>, key: &str, value: &str) -> Result<Sandbox> {
    let request = CreateSandboxRequest {
        source: Some(Source::Snapshot("default".to_owned())),
        labels: HashMap::from([
            (key.to_owned(), value.to_owned()),
            ("suite".to_owned(), "lifecycle".to_owned()),
        ]),
        ..Default::default()
    };
    Ok(host.create_with(request).await?)
}

async fn pages_and_labels(host: Arc<Host>) -> Result {
    let mut made = Vec::new();
    for number in ["0", "1", "2", "3", "4"] {
        made.push(labelled(&host, "number", number).await?.id().to_owned());
    }
    // Newest first.
    made.reverse();
    ensure!(list(&host, 2, &[("suite", "lifecycle")]).await? == made);
    ensure!(list(&host, 5, &[("suite", "lifecycle")]).await? == made);
    ensure!(list(&host, 0, &[("suite", "lifecycle"), ("number", "3")]).await? == made[1..2]);
    ensure!(list(&host, 0, &[("number", "none")]).await?.is_empty());

    let too_large = ListSandboxesRequest {
        page_size: 1001,
        ..Default::default()
    };
    bad_field(
        host.clients().sandboxes().list(too_large).await,
        "page_size",
    )?;
    let nonsense = ListSandboxesRequest {
        page_token: "?".to_owned(),
        ..Default::default()
    };
    bad_field(
        host.clients().sandboxes().list(nonsense).await,
        "page_token",
    )
}

/// Ids of all pages.
async fn list(host: &Host, page_size: u32, labels: &[(&str, &str)]) -> Result<Vec<String>> {
    let labels = labels
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let mut request = ListSandboxesRequest {
        page_size,
        labels: labels.collect(),
        ..Default::default()
    };
    let mut ids = Vec::new();
    loop {
        let page = host
            .clients()
            .sandboxes()
            .list(request.clone())
            .await?
            .into_inner();
        let limit = if page_size == 0 {
            100
        } else {
            page_size as usize
        };
        ensure!(
            page.sandboxes.len() <= limit,
            "a page of {}",
            page.sandboxes.len()
        );
        ids.extend(page.sandboxes.into_iter().map(|sandbox| sandbox.id));
        if page.next_page_token.is_empty() {
            return Ok(ids);
        }
        request.page_token = page.next_page_token;
    }
}

async fn watchers_see_every_state(host: Arc<Host>) -> Result {
    let request = WatchRequest::default();
    let mut events = host
        .clients()
        .sandboxes()
        .watch(request)
        .await?
        .into_inner();
    let sandbox = host.create().await?;
    sandbox.pause().await?;
    sandbox.resume().await?;
    sandbox.kill().await?;
    let mut seen = Vec::new();
    while seen.last() != Some(&SandboxState::Stopped) {
        let event = events.message().await?.context("the events ended")?;
        let seen_now = event.sandbox.context("an event of no sandbox")?;
        if seen_now.id == sandbox.id() && seen.last() != Some(&seen_now.state()) {
            seen.push(seen_now.state());
        }
    }
    use SandboxState::{Creating, Paused, Running, Stopped};
    ensure!(
        seen == [Creating, Running, Paused, Running, Stopped],
        "{seen:?}"
    );
    Ok(())
}

async fn a_watched_sandbox_is_told_at_once(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let request = WatchRequest {
        sandbox_id: sandbox.id().to_owned(),
    };
    let mut events = host
        .clients()
        .sandboxes()
        .watch(request)
        .await?
        .into_inner();
    let first = events.message().await?.and_then(|event| event.sandbox);
    let first = first.context("no first event")?;
    ensure!(
        first.id == sandbox.id() && first.state() == SandboxState::Running,
        "{first:?}"
    );
    Ok(())
}

async fn pause_and_resume(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let line = "while :; do echo; sleep 0.02; done";
    let mut process = sandbox.start(shell(line)).await?;
    process.read_until("\n").await?;
    ensure!(sandbox.pause().await?.state() == SandboxState::Paused);
    // What was on its way arrives; then nothing does.
    let quiet = async {
        while tokio::time::timeout(Duration::from_millis(1500), process.next())
            .await
            .is_ok()
        {}
    };
    tokio::time::timeout(Duration::from_secs(20), quiet)
        .await
        .context("it goes on")?;
    ensure!(sandbox.resume().await?.state() == SandboxState::Running);
    process.read_until("\n").await?;
    ensure!(sandbox.says("echo here").await? == "here");
    Ok(())
}

async fn a_timeout_ends_it(host: Arc<Host>) -> Result {
    let request = with_timeout(2);
    let sandbox = host.create_with(request).await?;
    ensure!(sandbox.info().expires_at.is_some());
    let ended = sandbox
        .becomes(SandboxState::Stopped, Duration::from_secs(20))
        .await?;
    ensure!(ended.end_reason == "timeout", "{ended:?}");
    Ok(())
}

async fn a_timeout_can_be_extended(host: Arc<Host>) -> Result {
    let sandbox = host.create_with(with_timeout(4)).await?;
    let request = ExtendTimeoutRequest {
        sandbox_id: sandbox.id().to_owned(),
        timeout: with_timeout(600).timeout,
    };
    let extended = host
        .clients()
        .sandboxes()
        .extend_timeout(request)
        .await?
        .into_inner();
    let seconds = |info: &protocol::hostd::v1::Sandbox| info.expires_at.map_or(0, |t| t.seconds);
    ensure!(
        seconds(&extended) > seconds(sandbox.info()) + 500,
        "{extended:?}"
    );
    tokio::time::sleep(Duration::from_secs(6)).await;
    ensure!(sandbox.get().await?.state() == SandboxState::Running);
    Ok(())
}

fn with_timeout(seconds: i64) -> CreateSandboxRequest {
    CreateSandboxRequest {
        source: Some(Source::Snapshot("default".to_owned())),
        timeout: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..Default::default()
    }
}

async fn killing_twice_is_no_error(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let first = sandbox.kill().await?;
    ensure!(sandbox.kill().await? == first);
    ensure!(sandbox.get().await? == first);
    Ok(())
}

async fn unknown_ids(host: Arc<Host>) -> Result {
    let clients = host.clients();
    for id in [
        "sbx_loc_00000000000000000000",
        "",
        "sbx_",
        "../../etc/passwd",
        "x\0y",
    ] {
        let sandbox_id = id.to_owned();
        let answer = clients
            .sandboxes()
            .get(GetSandboxRequest { sandbox_id })
            .await;
        expect(answer, Code::NotFound, "SANDBOX_NOT_FOUND").context(id)?;
        let sandbox_id = id.to_owned();
        let answer = clients
            .sandboxes()
            .kill(KillSandboxRequest { sandbox_id })
            .await;
        expect(answer, Code::NotFound, "SANDBOX_NOT_FOUND").context(id)?;
        let sandbox_id = id.to_owned();
        let answer = clients
            .host()
            .sandbox_stats(SandboxStatsRequest { sandbox_id })
            .await;
        expect(answer, Code::NotFound, "SANDBOX_NOT_FOUND").context(id)?;
        let exec = tests::process::Process::open(clients, id, start()).await;
        expect(exec, Code::NotFound, "SANDBOX_NOT_FOUND").context(id)?;
    }
    for id in [
        "snp_00000000000000000000000000",
        "no-such-name",
        "../default",
    ] {
        let snapshot = id.to_owned();
        let answer = clients
            .snapshots()
            .get(GetSnapshotRequest { snapshot })
            .await;
        expect(answer, Code::NotFound, "SNAPSHOT_NOT_FOUND").context(id)?;
        let request = CreateSandboxRequest {
            source: Some(Source::Snapshot(id.to_owned())),
            ..Default::default()
        };
        expect(
            host.create_with(request).await,
            Code::NotFound,
            "SNAPSHOT_NOT_FOUND",
        )
        .context(id)?;
    }
    let request = CreateSandboxRequest {
        source: Some(Source::Image("../default".to_owned())),
        ..Default::default()
    };
    expect(
        host.create_with(request).await,
        Code::NotFound,
        "IMAGE_NOT_FOUND",
    )
    .map(drop)
}

fn start() -> protocol::types::v1::process_input::Input {
    protocol::types::v1::process_input::Input::Start(shell("true"))
}

async fn impossible_sizes(host: Arc<Host>) -> Result {
    for vcpus in [9, 1000, u32::MAX] {
        let request = CreateSandboxRequest {
            vcpus,
            ..Host::cold_boot()
        };
        bad_field(host.create_with(request).await, "vcpus")?;
    }
    for memory_bytes in [1, 32 << 20, (256 << 20) + 1, 17 << 30, 1 << 60, u64::MAX] {
        let request = CreateSandboxRequest {
            memory_bytes,
            ..Host::cold_boot()
        };
        bad_field(host.create_with(request).await, "memory_bytes")?;
    }
    Ok(())
}

async fn odd_requests(host: Arc<Host>) -> Result {
    let empty = CreateSandboxRequest::default();
    code_of(host.create_with(empty).await, Code::InvalidArgument)?;
    let long_key = CreateSandboxRequest {
        labels: HashMap::from([("k".repeat(64), String::new())]),
        ..with_timeout(60)
    };
    bad_field(host.create_with(long_key).await, "labels")?;
    let bad_timeout = with_timeout(-1);
    bad_field(host.create_with(bad_timeout).await, "timeout")?;
    let bad_hostname = CreateSandboxRequest {
        hostname: "not a hostname\n".to_owned(),
        ..with_timeout(60)
    };
    bad_field(host.create_with(bad_hostname).await, "hostname")
}

async fn ended_sandboxes_take_no_commands(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    sandbox.kill().await?;
    let reason = "SANDBOX_NOT_RUNNING";
    let info = expect(
        sandbox.start(shell("true")).await,
        Code::FailedPrecondition,
        reason,
    )?;
    ensure!(info.metadata.contains_key("state"), "{info:?}");
    expect(sandbox.pause().await, Code::FailedPrecondition, reason)?;
    expect(sandbox.snapshot().await, Code::FailedPrecondition, reason)?;
    Ok(())
}

async fn a_sandbox_has_its_environment(host: Arc<Host>) -> Result {
    let request = CreateSandboxRequest {
        env: HashMap::from([("GREETING".to_owned(), "good morning".to_owned())]),
        hostname: "alpha".to_owned(),
        ..with_timeout(600)
    };
    let sandbox = host.create_with(request).await?;
    ensure!(sandbox.says("echo $GREETING").await? == "good morning");
    ensure!(sandbox.says("hostname").await? == "alpha");
    Ok(())
}
