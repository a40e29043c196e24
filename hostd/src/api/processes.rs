//! Processes: passed on to the sandbox's agent, which owns them.

use protocol::MAX_CHUNK_BYTES;
use protocol::agent::v1 as agent;
use protocol::hostd::v1::processes_server::Processes;
use protocol::hostd::v1::{
    ExecRequest, ListProcessesRequest, ListProcessesResponse, SignalRequest, SignalResponse,
    SpawnRequest, WaitRequest,
};
use protocol::types::v1::process_input::Input;
use protocol::types::v1::{ProcessInfo, ProcessInput, ProcessOutput, ProcessSpec};
use tonic::{Request, Streaming};

use super::relay::{self, Objection};
use super::{Answers, Response, auth};
use crate::error::{Error, Result};
use crate::sandboxes::Sandboxes;

/// The service.
#[derive(Clone, Debug)]
pub struct ProcessesApi {
    /// Whose processes.
    pub sandboxes: Sandboxes,
}

#[tonic::async_trait]
impl Processes for ProcessesApi {
    type ExecStream = Answers<ProcessOutput>;

    async fn exec(&self, request: Request<Streaming<ExecRequest>>) -> Response<Self::ExecStream> {
        let caller = auth::caller(request.extensions())?;
        let mut inputs = request.into_inner();
        let first = relay::first(&mut inputs).await?;
        let opening = opening(first.input)?;
        let sandbox = self
            .sandboxes
            .living_one(&caller, &first.sandbox_id)
            .await?;
        let mut processes = sandbox.agent().await?.processes();
        let (requests, mut objection) = relay::requests(opening, inputs, |request: ExecRequest| {
            following(request.input)
        });
        let outputs = relay::answer(&sandbox, &mut objection, processes.exec(requests)).await?;
        Ok(tonic::Response::new(relay::answers(
            sandbox, outputs, objection,
        )))
    }

    async fn spawn(&self, request: Request<SpawnRequest>) -> Response<ProcessInfo> {
        let caller = auth::caller(request.extensions())?;
        let request = request.into_inner();
        let spec = request
            .spec
            .ok_or_else(|| Error::invalid("spec", "is missing"))?;
        check_spec(&spec)?;
        let sandbox = self
            .sandboxes
            .living_one(&caller, &request.sandbox_id)
            .await?;
        let mut processes = sandbox.agent().await?.processes();
        let info = relay::answer(&sandbox, &mut Objection::none(), processes.spawn(spec)).await?;
        Ok(tonic::Response::new(info))
    }

    async fn signal(&self, request: Request<SignalRequest>) -> Response<SignalResponse> {
        let caller = auth::caller(request.extensions())?;
        let request = request.into_inner();
        let sandbox = self
            .sandboxes
            .living_one(&caller, &request.sandbox_id)
            .await?;
        let mut processes = sandbox.agent().await?.processes();
        let signal = agent::SignalRequest {
            pid: request.pid,
            signal: request.signal,
        };
        relay::answer(&sandbox, &mut Objection::none(), processes.signal(signal)).await?;
        Ok(tonic::Response::new(SignalResponse {}))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Response<ProcessInfo> {
        let caller = auth::caller(request.extensions())?;
        let request = request.into_inner();
        let sandbox = self
            .sandboxes
            .living_one(&caller, &request.sandbox_id)
            .await?;
        let mut processes = sandbox.agent().await?.processes();
        let wait = agent::WaitRequest { pid: request.pid };
        let info = relay::answer(&sandbox, &mut Objection::none(), processes.wait(wait)).await?;
        Ok(tonic::Response::new(info))
    }

    async fn list(
        &self,
        request: Request<ListProcessesRequest>,
    ) -> Response<ListProcessesResponse> {
        let caller = auth::caller(request.extensions())?;
        let sandbox = self
            .sandboxes
            .living_one(&caller, &request.into_inner().sandbox_id)
            .await?;
        let mut processes = sandbox.agent().await?.processes();
        let list = relay::answer(
            &sandbox,
            &mut Objection::none(),
            processes.list(agent::ListRequest {}),
        )
        .await?;
        Ok(tonic::Response::new(ListProcessesResponse {
            processes: list.processes,
        }))
    }
}

/// The first message starts or attaches.
fn opening(input: Option<ProcessInput>) -> Result<ProcessInput> {
    let input = input.ok_or_else(|| Error::invalid("input", "is missing"))?;
    match &input.input {
        Some(Input::Start(spec)) => check_spec(spec)?,
        Some(Input::Attach(_)) => {}
        _ => {
            return Err(Error::invalid(
                "input",
                "the first message must be `start` or `attach`",
            ));
        }
    }
    Ok(input)
}

/// The others do not.
fn following(input: Option<ProcessInput>) -> Result<ProcessInput> {
    let input = input.ok_or_else(|| Error::invalid("input", "is missing"))?;
    match &input.input {
        None => Err(Error::invalid("input", "is empty")),
        Some(Input::Start(_) | Input::Attach(_)) => Err(Error::invalid(
            "input",
            "`start` and `attach` are for the first message",
        )),
        Some(Input::Stdin(bytes)) if bytes.len() > MAX_CHUNK_BYTES => {
            Err(Error::invalid("input.stdin", "has more than 1 MiB"))
        }
        Some(_) => Ok(input),
    }
}

/// Only what needs no guest: the agent checks the rest.
fn check_spec(spec: &ProcessSpec) -> Result<()> {
    if spec.program.is_empty() {
        return Err(Error::invalid("program", "is empty"));
    }
    Ok(())
}
