//! Streams of a process: exact, with back-pressure, attached and not.

use std::time::Duration;

use futures::StreamExt;
use protocol::agent::v1 as wire;
use protocol::agent::v1::processes_client::ProcessesClient;
use protocol::types::v1::{
    Attach, CloseStdin, ProcessInput, ProcessOutput, ProcessSpec, process_input::Input,
};
use sha2::{Digest, Sha256};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::harness::{
    Guest, assert_reason, collect, eventually, is_alive, program, read_until, shell, within,
};

const MIB: usize = 1 << 20;

fn with_stdin(spec: ProcessSpec) -> ProcessSpec {
    ProcessSpec {
        stdin: true,
        ..spec
    }
}

async fn attach(
    processes: &mut ProcessesClient<Channel>,
    pid: u32,
) -> Result<Streaming<ProcessOutput>, Status> {
    let first = ProcessInput {
        input: Some(Input::Attach(Attach { pid })),
    };
    let messages = futures::stream::iter([first]).chain(futures::stream::pending());
    processes
        .exec(messages)
        .await
        .map(tonic::Response::into_inner)
}

#[tokio::test(flavor = "multi_thread")]
async fn stdin_of_64_mib_is_exact() {
    let mut guest = Guest::running().await;
    let piece = |number: usize| {
        let bytes: Vec<u8> = (0..MIB).map(|at| (at * 31 + number * 7) as u8).collect();
        bytes
    };
    let mut expected = Sha256::new();
    (0..64).for_each(|number| expected.update(piece(number)));
    let expected: String = expected
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let inputs = futures::stream::iter(0..64)
        .map(move |number| Input::Stdin(piece(number).into()))
        .chain(futures::stream::iter([Input::CloseStdin(CloseStdin {})]));
    let output = guest
        .exec_with(with_stdin(program("sha256sum", &[])), inputs)
        .await
        .unwrap();
    let outcome = collect(output).await.unwrap();
    assert!(outcome.text().starts_with(&expected), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stdout_of_64_mib_waits_for_a_slow_reader() {
    let mut guest = Guest::running().await;
    let spec = program("head", &["-c", "67108864", "/dev/zero"]);
    let mut output = guest
        .exec_with(spec, futures::stream::pending())
        .await
        .unwrap();
    let start = read_until(&mut output, |outcome| !outcome.stdout.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The program is held back by its pipe, and what it could write is all that anyone holds.
    let io = std::fs::read_to_string(format!("/proc/{}/io", start.pid)).unwrap();
    let written = io
        .lines()
        .find_map(|line| line.strip_prefix("wchar: "))
        .unwrap();
    assert!(written.parse::<usize>().unwrap() < 8 * MIB, "{io}");
    let rest = collect(output).await.unwrap();
    assert_eq!(start.stdout.len() + rest.stdout.len(), 64 * MIB);
    assert!(rest.stdout.iter().all(|byte| *byte == 0));
    assert_eq!(rest.code(), Some(0));
}

#[tokio::test]
async fn the_end_of_the_starting_stream_closes_stdin() {
    let mut guest = Guest::running().await;
    let inputs = futures::stream::iter([Input::Stdin("hello".into())]);
    let output = guest
        .exec_with(with_stdin(program("cat", &[])), inputs)
        .await
        .unwrap();
    assert_eq!(collect(output).await.unwrap().text(), "hello");
}

#[tokio::test]
async fn input_that_the_program_does_not_want_is_no_error() {
    let mut guest = Guest::running().await;
    let inputs = futures::stream::iter(0..8).map(|_| Input::Stdin(vec![0; MIB].into()));
    let output = guest
        .exec_with(with_stdin(shell("exec <&-; sleep 0.2; echo done")), inputs)
        .await;
    assert_eq!(collect(output.unwrap()).await.unwrap().text(), "done\n");
}

#[tokio::test]
async fn nonsense_ends_the_stream_with_a_typed_error() {
    let resize = || Input::Resize(protocol::types::v1::PtySize { rows: 24, cols: 80 });
    let cases: [(ProcessSpec, Vec<Input>); 6] = [
        (shell("sleep 1000"), vec![Input::Stdin("x".into())]),
        (
            with_stdin(shell("sleep 1000")),
            vec![Input::Stdin(vec![0; MIB + 1].into())],
        ),
        (
            with_stdin(shell("sleep 1000")),
            vec![Input::CloseStdin(CloseStdin {}), Input::Stdin("x".into())],
        ),
        (shell("sleep 1000"), vec![resize()]),
        (shell("sleep 1000"), vec![Input::Signal(0)]),
        (shell("sleep 1000"), vec![Input::Attach(Attach { pid: 1 })]),
    ];
    let mut guest = Guest::running().await;
    for (spec, inputs) in cases {
        let spec = ProcessSpec {
            kill_on_disconnect: true,
            ..spec
        };
        let inputs = futures::stream::iter(inputs).chain(futures::stream::pending());
        let mut output = guest.exec_with(spec, inputs).await.unwrap();
        let pid = read_until(&mut output, |outcome| outcome.pid != 0)
            .await
            .pid;
        let error = collect(output).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error:?}");
        eventually("killed", || !is_alive(pid)).await;
    }
    let error = guest
        .processes
        .exec(futures::stream::empty())
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_signal_in_the_stream_reaches_the_process() {
    let mut guest = Guest::running().await;
    let inputs = futures::stream::iter([Input::Signal(2)]).chain(futures::stream::pending());
    let output = guest
        .exec_with(program("sleep", &["1000"]), inputs)
        .await
        .unwrap();
    assert_eq!(collect(output).await.unwrap().signal(), Some(2));
}

#[tokio::test]
async fn detached_output_is_kept_up_to_a_mebibyte() {
    let mut guest = Guest::running().await;
    let spec = shell("head -c 3145728 /dev/zero; printf end");
    let pid = guest.processes.spawn(spec).await.unwrap().into_inner().pid;
    within(guest.processes.wait(wire::WaitRequest { pid }))
        .await
        .unwrap();
    let outcome = collect(attach(&mut guest.processes, pid).await.unwrap())
        .await
        .unwrap();
    assert_eq!(
        outcome.stdout.len() as u64 + outcome.dropped,
        3 * MIB as u64 + 3
    );
    assert_eq!(outcome.stdout.len(), MIB);
    assert!(outcome.stdout.ends_with(b"end"));
    assert_eq!(outcome.code(), Some(0));
}

/// The budget of the tests' machine is 4 MiB.
#[tokio::test(flavor = "multi_thread")]
async fn detached_output_of_many_is_kept_within_one_budget() {
    const WRITTEN: usize = 2 * MIB;
    let mut guest = Guest::running().await;
    let mut pids = Vec::new();
    for number in 0..12 {
        let line = format!("head -c {WRITTEN} /dev/zero; touch {number}; exec sleep 1000");
        let spec = ProcessSpec {
            cwd: guest.dir.path().to_str().unwrap().to_owned(),
            ..shell(&line)
        };
        let started = guest.processes.spawn(spec).await.unwrap();
        pids.push(started.into_inner().pid);
    }
    eventually("all is written", || guest.names().len() == pids.len()).await;
    let mut kept = 0;
    for pid in pids {
        let mut output = attach(&mut guest.processes, pid).await.unwrap();
        let outcome = read_until(&mut output, |outcome| {
            outcome.pid != 0 && outcome.stdout.len() + outcome.dropped as usize == WRITTEN
        })
        .await;
        assert!(outcome.stdout.len() >= 4 << 10);
        kept += outcome.stdout.len();
        let request = wire::SignalRequest { pid, signal: 9 };
        guest.processes.signal(request).await.unwrap();
    }
    // What was still in pipes when the first was read may come on top.
    assert!((3 * MIB..6 * MIB).contains(&kept), "{kept}");
}

#[tokio::test]
async fn a_broken_stream_detaches_and_another_attaches() {
    let mut guest = Guest::running().await;
    let line = "for n in 1 2 3 4 5 6 7 8 9 10; do echo $n; sleep 0.05; done";
    let (channel, wire) = guest.another_connection().await;
    let mut other = ProcessesClient::new(channel);
    let first = futures::stream::iter([ProcessInput {
        input: Some(Input::Start(shell(line))),
    }]);
    let mut output = other
        .exec(first.chain(futures::stream::pending()))
        .await
        .unwrap()
        .into_inner();
    let seen = read_until(&mut output, |outcome| outcome.stdout.ends_with(b"3\n")).await;
    drop(wire);
    let outcome = collect(attach(&mut guest.processes, seen.pid).await.unwrap())
        .await
        .unwrap();
    assert!(outcome.text().ends_with("8\n9\n10\n"), "{outcome:?}");
    assert_eq!((outcome.dropped, outcome.code()), (0, Some(0)));
}

#[tokio::test]
async fn a_second_attachment_takes_the_place_of_the_first() {
    let mut guest = Guest::running().await;
    let spec = ProcessSpec {
        kill_on_disconnect: true,
        ..with_stdin(program("cat", &[]))
    };
    let mut first = guest
        .exec_with(spec, futures::stream::pending())
        .await
        .unwrap();
    let pid = read_until(&mut first, |outcome| outcome.pid != 0).await.pid;
    let inputs = [
        Input::Attach(Attach { pid }),
        Input::Stdin("to the second".into()),
        Input::CloseStdin(CloseStdin {}),
    ];
    let inputs = futures::stream::iter(inputs.map(|input| ProcessInput { input: Some(input) }));
    let second = guest.processes.exec(inputs).await.unwrap().into_inner();
    let error = collect(first).await.unwrap_err();
    assert_reason(&error, Code::Aborted, "TAKEN_OVER");
    assert_eq!(collect(second).await.unwrap().text(), "to the second");
    let error = attach(&mut guest.processes, 999_999).await.unwrap_err();
    assert_reason(&error, Code::NotFound, "PROCESS_NOT_FOUND");
}

#[tokio::test]
async fn a_broken_stream_kills_only_who_asked_for_it() {
    let guest = Guest::running().await;
    for kill_on_disconnect in [true, false] {
        let (channel, wire) = guest.another_connection().await;
        let mut other = ProcessesClient::new(channel);
        let spec = ProcessSpec {
            kill_on_disconnect,
            ..program("sleep", &["1000"])
        };
        let first = futures::stream::iter([ProcessInput {
            input: Some(Input::Start(spec)),
        }]);
        let mut output = other
            .exec(first.chain(futures::stream::pending()))
            .await
            .unwrap()
            .into_inner();
        let pid = read_until(&mut output, |outcome| outcome.pid != 0)
            .await
            .pid;
        drop(wire);
        let mut processes = guest.processes.clone();
        if kill_on_disconnect {
            let info = within(processes.wait(wire::WaitRequest { pid }))
                .await
                .unwrap()
                .into_inner();
            assert!(info.exit.is_some());
        } else {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert!(is_alive(pid));
            processes
                .signal(wire::SignalRequest { pid, signal: 9 })
                .await
                .unwrap();
        }
    }
}

/// What a relay does when its own client has broken off: it ends its requests and lets the answers go.
#[tokio::test]
async fn an_end_followed_by_a_reset_is_a_broken_stream() {
    let mut guest = Guest::running().await;
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let inputs = tokio_stream::wrappers::ReceiverStream::new(receive);
    let mut output = guest
        .exec_with(with_stdin(program("cat", &[])), inputs)
        .await
        .unwrap();
    let pid = read_until(&mut output, |outcome| outcome.pid != 0)
        .await
        .pid;
    drop((output, send));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(is_alive(pid), "its input was not closed");
    let list = guest
        .processes
        .list(wire::ListRequest {})
        .await
        .unwrap()
        .into_inner()
        .processes;
    assert!(!list[0].attached);
    guest
        .processes
        .signal(wire::SignalRequest { pid, signal: 9 })
        .await
        .unwrap();
}

/// More programs than a connection window would hold if it were small.
#[tokio::test]
async fn programs_that_do_not_read_keep_nobody_else_out() {
    let mut guest = Guest::running().await;
    let mut stuck = Vec::new();
    for _ in 0..40 {
        let inputs = futures::stream::repeat(()).map(|()| Input::Stdin(vec![0; MIB].into()));
        let spec = ProcessSpec {
            kill_on_disconnect: true,
            ..program("sleep", &["1000"])
        };
        stuck.push(guest.exec_with(with_stdin(spec), inputs).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(within(guest.sh("echo through")).await.text(), "through\n");
    let list = guest
        .processes
        .list(wire::ListRequest {})
        .await
        .unwrap()
        .into_inner()
        .processes;
    for process in list.iter().filter(|process| process.exit.is_none()) {
        let request = wire::SignalRequest {
            pid: process.pid,
            signal: 9,
        };
        guest.processes.signal(request).await.unwrap();
    }
}

#[tokio::test]
async fn a_daemon_that_keeps_the_pipe_does_not_hold_back_the_end() {
    let mut guest = Guest::running().await;
    let started = std::time::Instant::now();
    let outcome = guest.sh("(sleep 30; echo late) & echo $!").await;
    assert_eq!(outcome.code(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(10));
    let daemon: i32 = outcome.text().trim().parse().unwrap();
    assert!(is_alive(daemon.cast_unsigned()));
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(daemon),
        nix::sys::signal::SIGKILL,
    );

    let chatty = "(while :; do echo x; sleep 0.05; done) & echo $!";
    let outcome = guest.sh(chatty).await;
    let daemon: i32 = outcome.text().lines().next().unwrap().parse().unwrap();
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(daemon),
        nix::sys::signal::SIGKILL,
    );
}
