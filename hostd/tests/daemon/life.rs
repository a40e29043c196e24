//! The state machine, as a client sees it.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::hostd::v1::{
    ExtendTimeoutRequest, ListSandboxesRequest, PauseSandboxRequest, ResumeSandboxRequest,
    SandboxState, SandboxStatsRequest, WatchRequest,
};
use tonic::Code;

use crate::fake::agent::SLOW;
use crate::host::{Host, boot_request, reason};
use crate::streams::exec;

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test]
async fn boots_runs_and_is_killed() {
    let host = Host::start().await;
    let sandbox = host.boot("").await.unwrap();
    assert_eq!(sandbox.state(), SandboxState::Running);
    assert_eq!(
        (sandbox.vcpus, sandbox.memory_bytes, sandbox.image.as_str()),
        (1, 64 << 20, "tiny")
    );
    assert!(!sandbox.epoch.is_empty());
    let stages: Vec<&str> = sandbox
        .create_stages
        .iter()
        .map(|stage| stage.name.as_str())
        .collect();
    assert_eq!(
        stages,
        [
            "spawn_vmm",
            "boot.map",
            "boot",
            "resume",
            "agent_connect",
            "barrier"
        ]
    );
    assert_eq!(host.get(&sandbox.id).await, sandbox);

    let killed = host.kill(&sandbox.id).await;
    assert_eq!(
        (killed.state(), killed.end_reason.as_str()),
        (SandboxState::Stopped, "killed")
    );
    assert_eq!(
        host.kill(&sandbox.id).await,
        killed,
        "killing twice is no error"
    );
    let gone = exec(&host, &sandbox.id, "exit", &["0"]).await.unwrap_err();
    assert_eq!(
        (gone.code(), reason(&gone).as_str()),
        (Code::FailedPrecondition, "SANDBOX_NOT_RUNNING")
    );
    host.assert_clean().await;
}

#[tokio::test]
async fn a_vmm_that_dies_fails_its_sandbox_within_a_second() {
    let host = Host::start().await;
    let sandbox = host.boot("").await.unwrap();
    let stats = host
        .host()
        .sandbox_stats(SandboxStatsRequest {
            sandbox_id: sandbox.id.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((stats.vm_exits, stats.agent_pss_bytes), (42, 4321));
    assert!(stats.vmm_pss_bytes > 0);

    let killed = Instant::now();
    kill(Pid::from_raw(stats.vmm_pid as i32), Signal::SIGKILL).unwrap();
    let ended = host.end_of(&sandbox.id).await;
    assert!(
        killed.elapsed() < Duration::from_secs(1),
        "{:?}",
        killed.elapsed()
    );
    let failure = ended.failure.unwrap();
    assert_eq!(failure.reason, "vmm_died");
    assert!(failure.message.contains("SIGKILL"), "{}", failure.message);
    assert!(failure.console_tail.contains("fake kernel"));
    host.assert_clean().await;
}

#[tokio::test]
async fn a_kernel_panic_is_told_with_the_console() {
    let host = Host::start().await;
    let sandbox = host.boot("panics").await.unwrap();
    let failure = host.end_of(&sandbox.id).await.failure.unwrap();
    assert_eq!(failure.reason, "guest_reset");
    assert!(
        failure.message.contains("Kernel panic - not syncing: fake"),
        "{}",
        failure.message
    );
    assert!(failure.console_tail.contains("Kernel panic"));
    host.assert_clean().await;
}

#[tokio::test]
async fn a_guest_that_resets_itself_is_told_in_its_own_words() {
    let host = Host::start().await;
    let id = host.boot("resets").await.unwrap().id;
    let failure = host.end_of(&id).await.failure.unwrap();
    assert_eq!(failure.reason, "guest_reset");
    assert_eq!(
        failure.message,
        "the guest reset itself: the agent ended: \\u{1b}[2Jfake"
    );
}

#[tokio::test]
async fn a_guest_that_powers_off_is_stopped() {
    let host = Host::start().await;
    let sandbox = host.boot("powers-off").await.unwrap();
    let ended = host.end_of(&sandbox.id).await;
    assert_eq!(
        (ended.state(), ended.end_reason.as_str()),
        (SandboxState::Stopped, "powered_off")
    );
    host.assert_clean().await;
}

#[tokio::test]
async fn pauses_and_goes_on() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let mut sandboxes = host.sandboxes();
    for _ in 0..2 {
        let paused = sandboxes
            .pause(PauseSandboxRequest {
                sandbox_id: id.clone(),
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(paused.state(), SandboxState::Paused);
    }
    let refused = exec(&host, &id, "exit", &["0"]).await.unwrap_err();
    assert_eq!(reason(&refused), "SANDBOX_NOT_RUNNING");
    for _ in 0..2 {
        let running = sandboxes
            .resume(ResumeSandboxRequest {
                sandbox_id: id.clone(),
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(running.state(), SandboxState::Running);
    }
    exec(&host, &id, "exit", &["0"]).await.unwrap();
}

#[tokio::test]
async fn a_pause_that_fails_leaves_it_running() {
    let host = Host::start().await;
    let id = host.boot("freeze-fails").await.unwrap().id;
    let refused = host
        .sandboxes()
        .pause(PauseSandboxRequest {
            sandbox_id: id.clone(),
        })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    assert_eq!(host.get(&id).await.state(), SandboxState::Running);
    exec(&host, &id, "exit", &["0"]).await.unwrap();
}

#[tokio::test]
async fn a_vmm_that_does_not_stop_ends_its_sandbox() {
    let host = Host::start().await;
    let id = host.boot("pause-fails").await.unwrap().id;
    let request = PauseSandboxRequest {
        sandbox_id: id.clone(),
    };
    let ended = host.sandboxes().pause(request).await.unwrap_err();
    assert_eq!(reason(&ended), "SANDBOX_ENDED");
    let failure = host.get(&id).await.failure.unwrap();
    assert_eq!(failure.reason, "host_error");
    assert!(failure.message.contains("do not stop"), "{failure:?}");
    host.assert_clean().await;
}

#[tokio::test]
async fn ends_at_its_timeout_and_not_before() {
    let host = Host::start().await;
    let short = host
        .create(protocol::hostd::v1::CreateSandboxRequest {
            timeout: seconds(1),
            ..boot_request("")
        })
        .await
        .unwrap();
    let long = host
        .create(protocol::hostd::v1::CreateSandboxRequest {
            timeout: seconds(1),
            ..boot_request("")
        })
        .await
        .unwrap();
    let moved = host
        .sandboxes()
        .extend_timeout(ExtendTimeoutRequest {
            sandbox_id: long.id.clone(),
            timeout: seconds(60),
        })
        .await
        .unwrap();
    assert!(moved.into_inner().expires_at.unwrap().seconds > long.expires_at.unwrap().seconds + 30);
    let ended = host.end_of(&short.id).await;
    assert_eq!(
        (ended.state(), ended.end_reason.as_str()),
        (SandboxState::Stopped, "timeout")
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(host.get(&long.id).await.state(), SandboxState::Running);
}

#[tokio::test]
async fn a_call_that_meets_a_pause_is_told_at_once() {
    let host = Host::start().await;
    let id = host.boot("freeze-slow").await.unwrap().id;
    let mut sandboxes = host.sandboxes();
    let request = PauseSandboxRequest {
        sandbox_id: id.clone(),
    };
    let pausing = tokio::spawn(async move { sandboxes.pause(request).await });
    tokio::time::sleep(SLOW / 5).await;
    assert_eq!(host.get(&id).await.state(), SandboxState::Running);
    let call = exec(&host, &id, "exit", &["0"]);
    let refused = tokio::time::timeout(Duration::from_secs(10), call).await;
    assert_eq!(
        reason(&refused.expect("the call hangs").unwrap_err()),
        "SANDBOX_NOT_RUNNING"
    );
    pausing.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_freeze_that_ends_after_it_was_given_up_is_undone() {
    let host = Host::start().await;
    let id = host.boot("freeze-late").await.unwrap().id;
    let request = PauseSandboxRequest {
        sandbox_id: id.clone(),
    };
    host.sandboxes().pause(request).await.unwrap_err();
    assert_eq!(host.get(&id).await.state(), SandboxState::Running);
    // Longer than the freeze takes: nothing comes after it.
    tokio::time::sleep(SLOW).await;
    exec(&host, &id, "exit", &["0"]).await.unwrap();
}

#[tokio::test]
async fn a_vmm_that_cannot_be_talked_to_is_killed() {
    let host = Host::start().await;
    let id = host.boot("cuts-off").await.unwrap().id;
    let failure = host.end_of(&id).await.failure.unwrap();
    assert_eq!(failure.reason, "vmm_died");
    assert!(failure.message.contains("socket"), "{}", failure.message);
    host.assert_clean().await;
}

#[tokio::test]
async fn a_watcher_sees_every_change_of_its_sandbox() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let mut events = host
        .sandboxes()
        .watch(WatchRequest {
            sandbox_id: id.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    host.sandboxes()
        .pause(PauseSandboxRequest {
            sandbox_id: id.clone(),
        })
        .await
        .unwrap();
    host.kill(&id).await;
    let mut states = Vec::new();
    while let Some(event) = events.message().await.unwrap() {
        states.push(event.sandbox.unwrap().state());
    }
    assert_eq!(
        states,
        [
            SandboxState::Running,
            SandboxState::Paused,
            SandboxState::Stopped
        ]
    );
}

#[tokio::test]
async fn a_create_that_nobody_waits_for_leaves_nothing() {
    let host = Host::start().await;
    let mut sandboxes = host.sandboxes();
    let abandoned = tokio::time::timeout(
        Duration::from_millis(300),
        sandboxes.create(boot_request("silent")),
    )
    .await;
    assert!(abandoned.is_err());
    let started = Instant::now();
    while std::fs::read_dir(host.state_dir().join("run"))
        .unwrap()
        .count()
        > 0
    {
        assert!(started.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    host.assert_clean().await;
}

#[tokio::test]
async fn a_create_given_up_at_any_moment_leaves_no_record_of_nothing() {
    let host = Host::start().await;
    for after in 0..20 {
        let mut sandboxes = host.sandboxes();
        let create = sandboxes.create(boot_request(""));
        let _ = tokio::time::timeout(Duration::from_millis(after), create).await;
    }
    let started = Instant::now();
    loop {
        let request = ListSandboxesRequest::default();
        let living = host.sandboxes().list(request).await.unwrap().into_inner();
        if living.sandboxes.is_empty() {
            break;
        }
        // Some were made in time, or their answer was on its way; all others end by themselves.
        for sandbox in &living.sandboxes {
            if sandbox.state() == SandboxState::Running {
                host.kill(&sandbox.id).await;
            }
        }
        assert!(started.elapsed() < Duration::from_secs(5), "{living:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    host.assert_clean().await;
}
