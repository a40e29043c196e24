//! What dies, and what hostd then says and does.
#![allow(missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::hostd::v1::SandboxState;
use tests::host::HostOptions;
use tests::process::shell;
use tests::products::Products;
use tests::refusal::expect;
use tests::{Host, Result, Sandbox, procfs, suite};
use tonic::Code;

suite!(
    a_killed_vmm_is_noticed_within_a_second,
    a_kernel_panic_shows_the_console,
    a_killed_agent_says_its_last_words,
    a_guest_may_power_off,
    a_killed_hostd_leaves_no_orphan_and_true_records,
    a_stopped_hostd_ends_its_sandboxes,
    calls_in_flight_end_with_the_sandbox,
);

/// How long a kernel or PID 1 that gives up may take to say so over an emulated serial port, and to reset.
const PANIC: Duration = Duration::from_secs(60);

async fn a_killed_vmm_is_noticed_within_a_second(host: Arc<Host>) -> Result {
    host.create().await?.kill().await?;
    let before = host.footprint();
    let sandbox = host.create().await?;
    let pid = sandbox.stats().await?.vmm_pid;
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL)?;
    let failed = sandbox
        .becomes(SandboxState::Failed, Duration::from_secs(1))
        .await?;
    let failure = failed.failure.context("no reason")?;
    ensure!(
        failure.reason == "vmm_died" && failed.end_reason == "failed",
        "{failure:?}"
    );
    host.settles_to(&before).await?;
    let answer = sandbox.start(shell("true")).await;
    expect(answer, Code::FailedPrecondition, "SANDBOX_NOT_RUNNING").map(drop)
}

async fn a_kernel_panic_shows_the_console(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    sandbox.spawn(shell("echo c > /proc/sysrq-trigger")).await?;
    let failed = sandbox.becomes(SandboxState::Failed, PANIC).await?;
    let failure = failed.failure.context("no reason")?;
    ensure!(failure.reason == "guest_reset", "{failure:?}");
    ensure!(
        failure.console_tail.contains("Kernel panic"),
        "{}",
        failure.console_tail
    );
    ensure!(failure.console_tail.len() <= 16 << 10);
    Ok(())
}

async fn a_killed_agent_says_its_last_words(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    // Programs are the agent's children, and the agent is PID 1's.
    let parent = sandbox
        .says("awk '/^PPid:/ { print $2 }' /proc/$PPID/status")
        .await?;
    ensure!(parent == "1", "the agent's parent is {parent}");
    // The answer dies with the agent, or comes just before.
    drop(sandbox.spawn(shell("kill -9 $PPID")).await);
    let failed = sandbox.becomes(SandboxState::Failed, PANIC).await?;
    let failure = failed.failure.context("no reason")?;
    ensure!(failure.reason == "guest_reset", "{failure:?}");
    ensure!(
        failure
            .console_tail
            .contains("the agent ended: signal 9 (SIGKILL) killed it"),
        "{}",
        failure.console_tail
    );
    Ok(())
}

async fn a_guest_may_power_off(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    sandbox.spawn(shell("echo o > /proc/sysrq-trigger")).await?;
    let ended = sandbox.becomes(SandboxState::Stopped, PANIC).await?;
    ensure!(ended.end_reason == "powered_off", "{ended:?}");
    Ok(())
}

async fn a_killed_hostd_leaves_no_orphan_and_true_records(_: Arc<Host>) -> Result {
    let own = own_host().await?;
    let running = own.create().await?;
    let killed = own.create().await?;
    killed.kill().await?;
    let (running_id, killed_id) = (running.id().to_owned(), killed.id().to_owned());
    own.kill_hard().await?;
    drop((running, killed));

    let own = own.start_again().await?;
    let found = get(&own, &running_id).await?;
    ensure!(found.end_reason == "host_restarted", "{found:?}");
    ensure!(
        found.state() == SandboxState::Failed && found.ended_at.is_some(),
        "{found:?}"
    );
    let found = get(&own, &killed_id).await?;
    ensure!(found.end_reason == "killed", "{found:?}");
    ensure!(
        procfs::files_below(&own.state().join("run")).is_empty(),
        "sockets are left"
    );
    ensure!(own.create().await?.says("echo fine").await? == "fine");
    own.stop().await
}

async fn get(host: &Host, id: &str) -> Result<protocol::hostd::v1::Sandbox> {
    let request = protocol::hostd::v1::GetSandboxRequest {
        sandbox_id: id.to_owned(),
    };
    Ok(host.clients().sandboxes().get(request).await?.into_inner())
}

async fn own_host() -> Result<Arc<Host>> {
    Host::start(HostOptions::with_default_snapshot(Products::find()?)?).await
}

async fn a_stopped_hostd_ends_its_sandboxes(_: Arc<Host>) -> Result {
    let own = own_host().await?;
    let sandboxes: Vec<Sandbox> =
        futures::future::try_join_all([own.create(), own.create()]).await?;
    ensure!(sandboxes.len() == 2);
    own.stop().await
}

async fn calls_in_flight_end_with_the_sandbox(host: Arc<Host>) -> Result {
    let sandbox = host.create().await?;
    let mut process = sandbox.start(shell("sleep 1000")).await?;
    let killing = sandbox.clone();
    let (next, killed) = tokio::join!(process.next(), async move { killing.kill().await });
    killed?;
    ensure!(
        next.is_err() || next.is_ok_and(|message| message.is_none()),
        "it went on"
    );
    Ok(())
}
