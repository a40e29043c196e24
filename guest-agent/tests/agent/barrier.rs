//! Freeze and Enter: who may act when, and in which order a machine becomes another.

use protocol::agent::v1 as wire;
use protocol::types::v1 as types;
use tonic::Code;

use crate::harness::{Guest, Recorder, assert_reason, enter, eventually, shell};

const ALL_STEPS: [&str; 4] = ["entropy", "clock", "identity", "thaw"];

#[tokio::test]
async fn nothing_is_answered_before_enter() {
    let mut guest = Guest::booted(Recorder::default()).await;
    let hello = guest
        .agent
        .hello(wire::HelloRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!((hello.epoch.as_str(), hello.frozen), ("", false));
    assert_eq!(hello.agent_version, env!("CARGO_PKG_VERSION"));
    assert_eq!(hello.boot_id.len(), 36);

    let refusals = [
        guest.run(shell("true")).await.map(drop),
        guest.processes.spawn(shell("true")).await.map(drop),
        guest.processes.list(wire::ListRequest {}).await.map(drop),
        guest
            .processes
            .wait(wire::WaitRequest { pid: 1 })
            .await
            .map(drop),
        guest
            .processes
            .signal(wire::SignalRequest { pid: 1, signal: 9 })
            .await
            .map(drop),
        guest.files.read(types::ReadFile::default()).await.map(drop),
        guest.files.list(types::ListDir::default()).await.map(drop),
        guest.files.write(futures::stream::empty()).await.map(drop),
        guest.agent.stats(wire::StatsRequest {}).await.map(drop),
        guest
            .agent
            .power_off(wire::PowerOffRequest {})
            .await
            .map(drop),
    ];
    for refusal in refusals {
        assert_reason(&refusal.unwrap_err(), Code::Unavailable, "BARRIER");
    }
    assert!(guest.machine.take_steps().is_empty());
}

#[tokio::test]
async fn entropy_clock_identity_thaw() {
    let mut guest = Guest::booted(Recorder::default()).await;
    let entered = guest.agent.enter(enter(1)).await.unwrap().into_inner();
    assert_eq!(entered.epoch, enter(1).epoch);
    assert_eq!(guest.machine.take_steps(), ALL_STEPS);
    assert_eq!(guest.sh("echo $FROM_SANDBOX").await.text(), "yes\n");
}

#[tokio::test]
async fn an_authority_is_trusted_before_anything_runs() {
    let mut guest = Guest::booted(Recorder::default()).await;
    let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let request = wire::EnterRequest {
        authority_pem: pem.into(),
        ..enter(1)
    };
    guest.agent.enter(request).await.unwrap();
    let steps = guest.machine.take_steps();
    assert_eq!(steps, ["entropy", "clock", "identity", "trust", "thaw"]);
}

#[tokio::test]
async fn an_epoch_is_used_once() {
    let mut guest = Guest::running().await;
    guest.agent.freeze(wire::FreezeRequest {}).await.unwrap();
    guest.agent.enter(enter(2)).await.unwrap();
    guest.machine.take_steps();
    for epoch in [1, 2] {
        let error = guest.agent.enter(enter(epoch)).await.unwrap_err();
        assert_reason(&error, Code::FailedPrecondition, "EPOCH_USED");
    }
    assert!(guest.machine.take_steps().is_empty());
}

#[tokio::test]
async fn a_freeze_is_undone_on_the_same_machine_only() {
    let mut guest = Guest::running().await;
    let same = |epoch| wire::EnterRequest {
        same_machine: true,
        ..enter(epoch)
    };
    let error = guest.agent.enter(same(1)).await.unwrap_err();
    assert_reason(&error, Code::FailedPrecondition, "NOT_FROZEN");

    for _ in 0..2 {
        guest.agent.freeze(wire::FreezeRequest {}).await.unwrap();
    }
    let hello = guest
        .agent
        .hello(wire::HelloRequest {})
        .await
        .unwrap()
        .into_inner();
    assert!(hello.frozen);
    assert_reason(
        &guest.run(shell("true")).await.unwrap_err(),
        Code::Unavailable,
        "BARRIER",
    );
    let error = guest.agent.enter(same(2)).await.unwrap_err();
    assert_reason(&error, Code::FailedPrecondition, "NOT_FROZEN");
    guest.agent.enter(same(1)).await.unwrap();
    assert_eq!(guest.sh("echo on").await.text(), "on\n");
}

#[tokio::test]
async fn a_step_that_fails_lets_nothing_run_and_may_be_repeated() {
    for failing in ALL_STEPS {
        let mut guest = Guest::booted(Recorder::default()).await;
        *guest.machine.fails.lock().unwrap() = Some(failing);
        let error = guest.agent.enter(enter(1)).await.unwrap_err();
        assert_reason(&error, Code::Internal, "MACHINE");
        let done = guest.machine.take_steps();
        assert!(ALL_STEPS.starts_with(&done) && done.len() < ALL_STEPS.len());
        assert_eq!(
            guest.run(shell("true")).await.unwrap_err().code(),
            Code::Unavailable
        );

        *guest.machine.fails.lock().unwrap() = None;
        guest.agent.enter(enter(1)).await.unwrap();
        assert_eq!(guest.sh("echo on").await.text(), "on\n");
    }
}

#[tokio::test]
async fn a_freeze_that_fails_changes_nothing() {
    let mut guest = Guest::running().await;
    *guest.machine.fails.lock().unwrap() = Some("freeze");
    guest
        .agent
        .freeze(wire::FreezeRequest {})
        .await
        .unwrap_err();
    assert_eq!(guest.sh("echo on").await.text(), "on\n");
}

#[tokio::test]
async fn impossible_requests_are_refused() {
    let long = "x".repeat(64);
    let bad = [
        wire::EnterRequest {
            epoch: "one".into(),
            ..enter(1)
        },
        wire::EnterRequest {
            epoch: String::new(),
            ..enter(1)
        },
        enter(0),
        wire::EnterRequest {
            entropy: vec![0; 31],
            ..enter(1)
        },
        wire::EnterRequest {
            entropy: vec![0; 513],
            ..enter(1)
        },
        wire::EnterRequest {
            wall_clock: None,
            ..enter(1)
        },
        wire::EnterRequest {
            wall_clock: Some(prost_types::Timestamp {
                seconds: 0,
                nanos: 0,
            }),
            ..enter(1)
        },
        wire::EnterRequest {
            hostname: "-x".into(),
            ..enter(1)
        },
        wire::EnterRequest {
            hostname: "a.b".into(),
            ..enter(1)
        },
        wire::EnterRequest {
            hostname: long,
            ..enter(1)
        },
        wire::EnterRequest {
            authority_pem: "trust me".into(),
            ..enter(1)
        },
        wire::EnterRequest {
            machine_id: "ABC".into(),
            ..enter(1)
        },
        wire::EnterRequest {
            env: [("A=B".to_owned(), String::new())].into(),
            ..enter(1)
        },
    ];
    let mut guest = Guest::booted(Recorder::default()).await;
    for request in bad {
        let error = guest.agent.enter(request).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
    }
    assert!(guest.machine.take_steps().is_empty());
}

#[tokio::test]
async fn stats_and_power_off() {
    let mut guest = Guest::running().await;
    let stats = guest
        .agent
        .stats(wire::StatsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(stats.processes, 7);
    guest
        .agent
        .power_off(wire::PowerOffRequest {})
        .await
        .unwrap();
    let machine = guest.machine.clone();
    eventually("power off", || {
        machine.steps.lock().unwrap().contains(&"power off")
    })
    .await;
}
