//! Streams through hostd: complete, with back-pressure, and with an end when the sandbox ends.

use std::time::Duration;

use futures::{StreamExt, stream};
use protocol::hostd::v1::{
    ExecRequest, FileOperationRequest, InfoRequest, PauseSandboxRequest, ReadFileRequest,
    ResumeSandboxRequest, SignalRequest, SpawnRequest, WaitRequest, WriteFileRequest,
};
use protocol::types::v1::process_input::Input;
use protocol::types::v1::process_output::Output;
use protocol::types::v1::{
    CloseStdin, ProcessInput, ProcessOutput, ProcessSpec, ReadFile, WriteFile, WriteInput,
    write_input,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::fake::agent::ZEROS_CHUNK;
use crate::host::{Host, PATIENCE, reason};

pub fn start(program: &str, args: &[&str]) -> Input {
    Input::Start(ProcessSpec {
        program: program.into(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..Default::default()
    })
}

pub fn request(id: &str, input: Input) -> ExecRequest {
    ExecRequest {
        sandbox_id: id.into(),
        input: Some(ProcessInput { input: Some(input) }),
    }
}

/// Runs a program to its end.
pub async fn exec(
    host: &Host,
    id: &str,
    program: &str,
    args: &[&str],
) -> Result<Vec<Output>, Status> {
    let opening = request(id, start(program, args));
    let mut outputs = host
        .processes()
        .exec(stream::iter([opening]))
        .await?
        .into_inner();
    let mut seen = Vec::new();
    while let Some(output) = outputs.message().await? {
        seen.push(output.output.unwrap());
    }
    Ok(seen)
}

async fn begin(host: &Host, id: &str, program: &str, args: &[&str]) -> Streaming<ProcessOutput> {
    let opening = stream::iter([request(id, start(program, args))]).chain(stream::pending());
    host.processes().exec(opening).await.unwrap().into_inner()
}

#[tokio::test]
async fn what_goes_in_comes_out() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let (inputs, queue) = tokio::sync::mpsc::channel(1);
    inputs.send(request(&id, start("cat", &[]))).await.unwrap();
    let mut outputs = host
        .processes()
        .exec(ReceiverStream::new(queue))
        .await
        .unwrap()
        .into_inner();
    let writer = tokio::spawn(async move {
        for n in 0..64u8 {
            inputs
                .send(request("", Input::Stdin(vec![n; 1 << 20].into())))
                .await
                .unwrap();
        }
        inputs
            .send(request("", Input::CloseStdin(CloseStdin {})))
            .await
            .unwrap();
    });
    let mut total = 0;
    let mut last = None;
    while let Some(output) = outputs.message().await.unwrap() {
        if let Some(Output::Stdout(bytes)) = &output.output {
            assert!(bytes.iter().all(|byte| usize::from(*byte) == total >> 20));
            total += bytes.len();
        }
        last = output.output;
    }
    writer.await.unwrap();
    assert_eq!(total, 64 << 20);
    assert!(matches!(last, Some(Output::Exited(_))));
}

#[tokio::test]
async fn a_slow_reader_costs_no_memory_and_stops_nobody_else() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let pss = || async {
        host.host()
            .info(InfoRequest {})
            .await
            .unwrap()
            .into_inner()
            .hostd_pss_bytes
    };
    exec(&host, &id, "exit", &["0"]).await.unwrap();
    let before = pss().await;
    let mut stalled = Vec::new();
    for _ in 0..8 {
        stalled.push(begin(&host, &id, "zeros", &["1024"]).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grown = pss().await.saturating_sub(before);
    assert!(
        grown < 32 << 20,
        "{grown} bytes for 8 unread streams of 64 MiB"
    );
    // Others go on.
    exec(&host, &id, "exit", &["0"]).await.unwrap();
    let mut total = 0;
    while let Some(output) = stalled[0].message().await.unwrap() {
        if let Some(Output::Stdout(bytes)) = output.output {
            total += bytes.len();
        }
    }
    assert_eq!(total, 1024 * ZEROS_CHUNK);
}

#[tokio::test]
async fn stalled_readers_do_not_stop_the_sandboxs_own_calls() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let stalled = (0..100).map(|_| begin(&host, &id, "zeros", &["1024"]));
    let _stalled = futures::future::join_all(stalled).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut sandboxes = host.sandboxes();
    let pausing = sandboxes.pause(PauseSandboxRequest {
        sandbox_id: id.clone(),
    });
    tokio::time::timeout(PATIENCE, pausing)
        .await
        .expect("Pause hangs")
        .unwrap();
}

#[tokio::test]
async fn a_sandboxs_calls_have_a_limit_beside_which_its_own_go_on() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let open = (0..512).map(|_| begin(&host, &id, "sleep", &[]));
    let _open = futures::future::join_all(open).await;
    let refused = exec(&host, &id, "exit", &["0"]).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::ResourceExhausted, "TOO_MANY_CALLS")
    );
    let pause = PauseSandboxRequest {
        sandbox_id: id.clone(),
    };
    host.sandboxes().pause(pause).await.unwrap();
    let resume = ResumeSandboxRequest {
        sandbox_id: id.clone(),
    };
    host.sandboxes().resume(resume).await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_with_its_sandbox() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let mut outputs = begin(&host, &id, "sleep", &[]).await;
    outputs.message().await.unwrap();
    let mut processes = host.processes();
    let wait = processes.wait(WaitRequest {
        sandbox_id: id.clone(),
        pid: 78,
    });
    let ends = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        host.kill(&id).await;
    };
    let (waited, ()) = tokio::time::timeout(PATIENCE, futures::future::join(wait, ends))
        .await
        .expect("Wait hangs");
    let streamed = tokio::time::timeout(PATIENCE, outputs.message())
        .await
        .expect("Exec hangs")
        .unwrap_err();
    for status in [waited.unwrap_err(), streamed] {
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "SANDBOX_ENDED"),
            "{status:?}"
        );
    }
}

#[tokio::test]
async fn wrong_messages_are_refused_by_name() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let mut processes = host.processes();
    let first_is_stdin = stream::iter([request(&id, Input::Stdin(vec![1].into()))]);
    let second_is_start = stream::iter([
        request(&id, start("cat", &[])),
        request("", start("cat", &[])),
    ])
    .chain(stream::pending());
    assert_eq!(
        processes.exec(first_is_stdin).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    assert_eq!(
        processes.exec(stream::iter([])).await.unwrap_err().code(),
        Code::InvalidArgument
    );
    let status = match processes.exec(second_is_start).await {
        Err(status) => status,
        Ok(outputs) => {
            let mut outputs = outputs.into_inner();
            loop {
                if let Err(status) = outputs.message().await {
                    break status;
                }
            }
        }
    };
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let unknown = exec(&host, "sbx_loc_00000000000000000000", "cat", &[])
        .await
        .unwrap_err();
    assert_eq!(
        (unknown.code(), reason(&unknown).as_str()),
        (Code::NotFound, "SANDBOX_NOT_FOUND")
    );
}

#[tokio::test]
async fn an_agents_own_errors_pass_with_their_details() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let missing = exec(&host, &id, "no-such-program", &[]).await.unwrap_err();
    assert_eq!(
        (missing.code(), reason(&missing).as_str()),
        (Code::NotFound, "ENOENT")
    );
    let read = Some(ReadFile {
        path: "/none".into(),
        ..Default::default()
    });
    let missing = host
        .files()
        .read(ReadFileRequest {
            sandbox_id: id.clone(),
            read,
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&missing), "ENOENT");
    let no_process = host
        .processes()
        .signal(SignalRequest {
            sandbox_id: id.clone(),
            pid: 1,
            signal: 9,
        })
        .await
        .unwrap_err();
    assert_eq!(reason(&no_process), "ESRCH");
    let spec = Some(ProcessSpec {
        program: "sleep".into(),
        ..Default::default()
    });
    assert_eq!(
        host.processes()
            .spawn(SpawnRequest {
                sandbox_id: id.clone(),
                spec
            })
            .await
            .unwrap()
            .into_inner()
            .pid,
        78
    );
    let empty = host
        .files()
        .r#do(FileOperationRequest {
            sandbox_id: id,
            operation: None,
        })
        .await
        .unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn files_go_both_ways() {
    let host = Host::start().await;
    let id = host.boot("").await.unwrap().id;
    let read = Some(ReadFile {
        path: "/zeros".into(),
        ..Default::default()
    });
    let mut chunks = host
        .files()
        .read(ReadFileRequest {
            sandbox_id: id.clone(),
            read,
        })
        .await
        .unwrap()
        .into_inner();
    let mut total = 0;
    while let Some(chunk) = chunks.message().await.unwrap() {
        total += chunk.data.len();
    }
    assert_eq!(total, 16 * ZEROS_CHUNK);

    let message = |id: &str, input| WriteFileRequest {
        sandbox_id: id.into(),
        input: Some(WriteInput { input: Some(input) }),
    };
    let open = message(
        &id,
        write_input::Input::Open(WriteFile {
            path: "/x".into(),
            ..Default::default()
        }),
    );
    let data = message("", write_input::Input::Data(vec![1; 1 << 20].into()));
    let written = host
        .files()
        .write(stream::iter([open.clone(), data.clone(), data]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(written.bytes_written, 2 << 20);
    let twice = host
        .files()
        .write(stream::iter([open.clone(), open]))
        .await
        .unwrap_err();
    assert_eq!(twice.code(), Code::InvalidArgument);
}
