//! A small agent: it keeps the barrier's rules, and its programs are `cat`, `deaf`, `zeros`, `sleep` and `exit`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use protocol::agent::v1::agent_server::Agent;
use protocol::agent::v1::files_server::Files;
use protocol::agent::v1::processes_server::Processes;
use protocol::agent::v1::{
    EnterRequest, EnterResponse, FreezeRequest, FreezeResponse, HelloRequest, HelloResponse,
    ListRequest, ListResponse, PowerOffRequest, PowerOffResponse, SignalRequest, SignalResponse,
    StatsRequest, StatsResponse, WaitRequest,
};
use protocol::types::v1::process_input::Input;
use protocol::types::v1::process_output::Output;
use protocol::types::v1::{
    DirEntries, ExitStatus, FileChunk, FileOperation, FileResult, ListDir, ProcessInfo,
    ProcessInput, ProcessOutput, ProcessSpec, ReadFile, Started, WriteInput, WriteResult,
    exit_status, write_input,
};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

use super::Trouble;
use super::guest::Guest;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What takes a while, takes this.
pub const SLOW: Duration = Duration::from_millis(500);
/// `zeros` writes this many bytes at a time.
pub const ZEROS_CHUNK: usize = 64 << 10;

pub struct FakeAgent {
    pub guest: Arc<Guest>,
}

#[tonic::async_trait]
impl Agent for FakeAgent {
    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        let big = self.guest.trouble == Trouble::BigHello;
        let state = self.guest.state.lock().unwrap();
        Ok(Response::new(HelloResponse {
            agent_version: if big {
                "9".repeat(3 << 20)
            } else {
                "0.1.0".into()
            },
            epoch: state.epoch.clone().unwrap_or_default(),
            frozen: state.frozen,
            ..Default::default()
        }))
    }

    async fn freeze(&self, _: Request<FreezeRequest>) -> Result<Response<FreezeResponse>, Status> {
        if self.guest.trouble == Trouble::FreezeFails {
            return Err(Status::with_error_details(
                Code::Aborted,
                "busy",
                ErrorDetails::new(),
            ));
        }
        if self.guest.trouble == Trouble::FreezeBusy && FREEZES.fetch_add(1, Ordering::SeqCst) < 3 {
            return Err(refusal(
                Code::Aborted,
                "BUSY",
                "file operations did not end",
            ));
        }
        if self.guest.trouble == Trouble::FreezeSlow {
            tokio::time::sleep(SLOW).await;
        }
        if self.guest.trouble == Trouble::FreezeLate {
            let guest = self.guest.clone();
            guest.state.lock().unwrap().freezing = true;
            tokio::spawn(async move {
                tokio::time::sleep(SLOW).await;
                let mut state = guest.state.lock().unwrap();
                (state.frozen, state.freezing) = (true, false);
            });
            return Err(Status::with_error_details(
                Code::Aborted,
                "the answer is lost",
                ErrorDetails::new(),
            ));
        }
        self.guest.state.lock().unwrap().frozen = true;
        Ok(Response::new(FreezeResponse::default()))
    }

    async fn enter(
        &self,
        request: Request<EnterRequest>,
    ) -> Result<Response<EnterResponse>, Status> {
        if self.guest.trouble == Trouble::EnterHangs {
            std::future::pending::<()>().await;
        }
        let request = request.into_inner();
        assert!(request.entropy.len() >= 64 && request.entropy.iter().any(|byte| *byte != 0));
        assert_eq!(request.machine_id.len(), 32);
        let mut state = self.guest.state.lock().unwrap();
        if state.freezing {
            return Err(refusal(Code::Aborted, "BUSY", "a freeze is under way"));
        }
        let known = state.epoch.as_ref() == Some(&request.epoch);
        if known != request.same_machine || (request.same_machine && !state.frozen) {
            let (code, reason) = (Code::FailedPrecondition, "NOT_FROZEN");
            return Err(refusal(code, reason, "not at this barrier"));
        }
        *state = super::guest::State {
            epoch: Some(request.epoch.clone()),
            frozen: false,
            freezing: false,
        };
        let wrong = self.guest.trouble == Trouble::WrongEpoch;
        Ok(Response::new(EnterResponse {
            epoch: if wrong { "x".into() } else { request.epoch },
            clock_step_ns: 0,
        }))
    }

    async fn power_off(
        &self,
        _: Request<PowerOffRequest>,
    ) -> Result<Response<PowerOffResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn stats(&self, _: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        Ok(Response::new(StatsResponse {
            agent_pss_bytes: 4321,
            ..Default::default()
        }))
    }
}

pub struct FakeProcesses {
    pub guest: Arc<Guest>,
}

#[tonic::async_trait]
impl Processes for FakeProcesses {
    type ExecStream = Answers<ProcessOutput>;

    async fn exec(
        &self,
        request: Request<Streaming<ProcessInput>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        if !self.guest.has_entered() {
            return Err(Status::unavailable("frozen"));
        }
        let mut inputs = Inputs::of(request);
        let first = inputs.message().await?.and_then(|first| first.input);
        let Some(Input::Start(spec)) = first else {
            return Err(Status::cancelled("no first message"));
        };
        let output = output(&spec, inputs)?;
        let started = Output::Started(Started {
            pid: 77,
            ..Default::default()
        });
        let whole = stream::once(async { Ok(started) }).chain(output);
        Ok(Response::new(Box::pin(whole.map(|output| {
            output.map(|output| ProcessOutput {
                output: Some(output),
            })
        }))))
    }

    async fn spawn(&self, request: Request<ProcessSpec>) -> Result<Response<ProcessInfo>, Status> {
        let spec = request.into_inner();
        Ok(Response::new(ProcessInfo {
            pid: 78,
            program: spec.program,
            args: spec.args,
            ..Default::default()
        }))
    }

    async fn signal(
        &self,
        request: Request<SignalRequest>,
    ) -> Result<Response<SignalResponse>, Status> {
        match request.into_inner().pid {
            78 => Ok(Response::new(SignalResponse {})),
            _ => Err(posix("ESRCH", "kill")),
        }
    }

    async fn wait(&self, _: Request<WaitRequest>) -> Result<Response<ProcessInfo>, Status> {
        std::future::pending().await
    }

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        Ok(Response::new(ListResponse::default()))
    }
}

fn output(spec: &ProcessSpec, inputs: Inputs<ProcessInput>) -> Result<Answers<Output>, Status> {
    let argument = || spec.args[0].parse::<usize>().unwrap();
    let exit = |code| stream::once(async move { Ok(exited(code)) });
    Ok(match spec.program.as_str() {
        // The second is what speaks with the SDKs, which here repeats what they say.
        "cat" | "/proc/self/exe" => Box::pin(stream::unfold(Some(inputs), |inputs| async {
            let mut inputs = inputs?;
            match inputs.message().await {
                Ok(Some(ProcessInput {
                    input: Some(Input::Stdin(bytes)),
                })) => Some((Ok(Output::Stdout(bytes)), Some(inputs))),
                Ok(_) => Some((Ok(exited(0)), None)),
                Err(status) => Some((Err(status), None)),
            }
        })),
        "deaf" => Box::pin(stream::once(async move {
            std::future::pending::<()>().await;
            drop(inputs);
            Ok(exited(0))
        })),
        "zeros" => {
            let chunks = stream::iter(
                (0..argument()).map(|_| Ok(Output::Stdout(vec![0; ZEROS_CHUNK].into()))),
            );
            Box::pin(chunks.chain(exit(0)))
        }
        "sleep" => Box::pin(stream::pending().chain(stream::once(async move {
            drop(inputs);
            Ok(exited(0))
        }))),
        "exit" => Box::pin(exit(i32::try_from(argument()).unwrap())),
        program => return Err(posix("ENOENT", program)),
    })
}

fn exited(code: i32) -> Output {
    Output::Exited(ExitStatus {
        status: Some(exit_status::Status::Code(code)),
        timed_out: false,
    })
}

/// Freezes asked for.
static FREEZES: AtomicUsize = AtomicUsize::new(0);
/// Request streams that came to their end.
static FINISHED: AtomicUsize = AtomicUsize::new(0);
/// Request streams that broke, or were dropped, before their end.
static BROKEN: AtomicUsize = AtomicUsize::new(0);

/// A request stream of which it is known how it ended.
struct Inputs<T> {
    stream: Streaming<T>,
    finished: bool,
}

impl<T> Inputs<T> {
    fn of(request: Request<Streaming<T>>) -> Self {
        Self {
            stream: request.into_inner(),
            finished: false,
        }
    }

    async fn message(&mut self) -> Result<Option<T>, Status> {
        let message = self.stream.message().await;
        self.finished = matches!(message, Ok(None));
        message
    }
}

impl<T> Drop for Inputs<T> {
    fn drop(&mut self) {
        let count = if self.finished { &FINISHED } else { &BROKEN };
        count.fetch_add(1, Ordering::SeqCst);
    }
}

pub struct FakeFiles;

#[tonic::async_trait]
impl Files for FakeFiles {
    type ReadStream = Answers<FileChunk>;
    type ListStream = Answers<DirEntries>;

    async fn read(&self, request: Request<ReadFile>) -> Result<Response<Self::ReadStream>, Status> {
        match request.into_inner().path.as_str() {
            "/zeros" => {
                let chunk = || {
                    Ok(FileChunk {
                        data: vec![0; ZEROS_CHUNK].into(),
                    })
                };
                Ok(Response::new(Box::pin(stream::repeat_with(chunk).take(16))))
            }
            "/ends" => {
                let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
                let count = format!("{} finished, {} broken", count(&FINISHED), count(&BROKEN));
                Ok(Response::new(Box::pin(stream::iter([Ok(FileChunk {
                    data: count.into(),
                })]))))
            }
            path => Err(posix("ENOENT", path)),
        }
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteInput>>,
    ) -> Result<Response<WriteResult>, Status> {
        let mut inputs = Inputs::of(request);
        let mut bytes_written = 0;
        while let Some(input) = inputs.message().await? {
            if let Some(write_input::Input::Data(data)) = input.input {
                bytes_written += data.len() as u64;
            }
        }
        Ok(Response::new(WriteResult { bytes_written }))
    }

    async fn list(&self, _: Request<ListDir>) -> Result<Response<Self::ListStream>, Status> {
        Ok(Response::new(Box::pin(stream::iter([Ok(
            DirEntries::default(),
        )]))))
    }

    async fn r#do(&self, _: Request<FileOperation>) -> Result<Response<FileResult>, Status> {
        Ok(Response::new(FileResult::default()))
    }
}

fn refusal(code: Code, reason: &str, message: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "thaw", std::collections::HashMap::new());
    Status::with_error_details(code, message, details)
}

fn posix(reason: &str, path: &str) -> Status {
    let metadata = std::collections::HashMap::from([("path".to_owned(), path.to_owned())]);
    Status::with_error_details(
        Code::NotFound,
        reason,
        ErrorDetails::with_error_info(reason, "posix", metadata),
    )
}
