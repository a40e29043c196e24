//! `thaw.agent.v1.Processes`: the wire side.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use nix::errno::Errno;
use protocol::agent::v1 as wire;
use protocol::types::v1::{
    ProcessInfo, ProcessInput, ProcessOutput, ProcessSpec, process_input::Input,
};
use tonic::{Code, Request, Response, Status, Streaming};

use super::attachment::Attachment;
use super::signal::Signal;
use super::spec::Plan;
use super::supervise::start;
use super::{Accounts, Table};
use crate::barrier::Barrier;
use crate::status::{PosixError, invalid, refused, task_lost};

/// The Processes service.
pub struct ProcessesService {
    barrier: Arc<Barrier>,
    accounts: Accounts,
    table: Arc<Table>,
}

impl ProcessesService {
    /// Starts programs on the barrier's machine.
    pub fn new(barrier: Arc<Barrier>, accounts: Accounts) -> Self {
        let table = Arc::new(Table::new(barrier.machine().memory_bytes()));
        Self {
            barrier,
            accounts,
            table,
        }
    }

    /// Starts a program and does `then` with it, on a blocking thread and to the end, even when the client goes away
    /// meanwhile.
    async fn start<T: Send + 'static>(
        &self,
        spec: ProcessSpec,
        then: impl FnOnce(Arc<super::process::Process>) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let pass = self.barrier.admit()?;
        let (accounts, table) = (self.accounts.clone(), self.table.clone());
        let machine = self.barrier.machine().clone();
        let task = tokio::task::spawn_blocking(move || {
            let plan = Plan::new(spec, pass.environment(), &accounts)?;
            start(plan, &table, &*machine).map(then)
        });
        task.await.map_err(|_| task_lost())?
    }
}

#[tonic::async_trait]
impl wire::processes_server::Processes for ProcessesService {
    type ExecStream = Pin<Box<dyn Stream<Item = Result<ProcessOutput, Status>> + Send>>;

    async fn exec(
        &self,
        request: Request<Streaming<ProcessInput>>,
    ) -> Result<Response<Self::ExecStream>, Status> {
        drop(self.barrier.admit()?);
        let mut messages = request.into_inner();
        let first = messages.message().await?.and_then(|first| first.input);
        let mut attachment = match first {
            Some(Input::Start(spec)) => {
                let table = self.table.clone();
                self.start(spec, |process| Attachment::new(process, table, true))
                    .await?
            }
            Some(Input::Attach(attach)) => {
                let _pass = self.barrier.admit()?;
                Attachment::new(self.table.find(attach.pid)?, self.table.clone(), false)
            }
            _ => return Err(invalid("input", "the first message starts or attaches")),
        };
        attachment.listen(messages);
        Ok(Response::new(Box::pin(attachment.into_stream())))
    }

    async fn spawn(&self, request: Request<ProcessSpec>) -> Result<Response<ProcessInfo>, Status> {
        let process = self.start(request.into_inner(), |process| process).await?;
        Ok(Response::new(process.info()))
    }

    async fn signal(
        &self,
        request: Request<wire::SignalRequest>,
    ) -> Result<Response<wire::SignalResponse>, Status> {
        let _pass = self.barrier.admit()?;
        let request = request.into_inner();
        let signal = Signal::new(request.signal)?;
        match self.table.find(request.pid)?.signal(signal) {
            Ok(()) => Ok(Response::new(wire::SignalResponse {})),
            Err(Errno::ESRCH) => {
                let message = format!("process {} has ended", request.pid);
                Err(refused(Code::NotFound, "PROCESS_ENDED", message))
            }
            Err(errno) => Err(PosixError::new("kill", request.pid.to_string(), errno).into()),
        }
    }

    async fn wait(
        &self,
        request: Request<wire::WaitRequest>,
    ) -> Result<Response<ProcessInfo>, Status> {
        drop(self.barrier.admit()?);
        let process = self.table.find(request.into_inner().pid)?;
        let ended = process.watch_exit().wait_for(Option::is_some).await.is_ok();
        if !ended {
            return Err(task_lost());
        }
        Ok(Response::new(process.info()))
    }

    async fn list(
        &self,
        _request: Request<wire::ListRequest>,
    ) -> Result<Response<wire::ListResponse>, Status> {
        let _pass = self.barrier.admit()?;
        Ok(Response::new(wire::ListResponse {
            processes: self.table.list(),
        }))
    }
}
