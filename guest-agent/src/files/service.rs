//! `thaw.agent.v1.Files`: the wire side.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use protocol::agent::v1::files_server::Files;
use protocol::types::v1::{
    DirEntries, FileChunk, FileOperation, FileResult, ListDir, ReadFile, WriteInput, WriteResult,
    write_input::Input,
};
use tonic::{Request, Response, Status, Streaming};

use super::list::Walk;
use super::operations;
use super::read::Reader;
use super::write::Writer;
use crate::barrier::{Barrier, Pass};
use crate::processes::Accounts;
use crate::status::{invalid, task_lost};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The Files service.
pub struct FilesService {
    barrier: Arc<Barrier>,
    accounts: Accounts,
}

impl FilesService {
    /// Works on this machine's files.
    pub fn new(barrier: Arc<Barrier>, accounts: Accounts) -> Self {
        Self { barrier, accounts }
    }

    /// Each further piece of a stream that was admitted waits while the machine is frozen.
    fn behind_barrier<T: Send + 'static>(
        &self,
        pieces: impl Stream<Item = Result<T, Status>> + Send + 'static,
    ) -> Answers<T> {
        let barrier = self.barrier.clone();
        let pieces = Box::pin(pieces);
        Box::pin(futures::stream::unfold(
            (pieces, barrier),
            |(mut pieces, barrier)| async {
                let piece = match barrier.admitted().await {
                    Ok(_pass) => pieces.next().await?,
                    Err(status) => Err(status),
                };
                Some((piece, (pieces, barrier)))
            },
        ))
    }
}

/// Runs one piece of blocking work to its end, with leave to act.
async fn blocking<T: Send + 'static>(
    pass: Pass,
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let task = tokio::task::spawn_blocking(move || {
        let _pass = pass;
        work()
    });
    task.await.map_err(|_| task_lost())?
}

#[tonic::async_trait]
impl Files for FilesService {
    type ReadStream = Answers<FileChunk>;
    type ListStream = Answers<DirEntries>;

    async fn read(&self, request: Request<ReadFile>) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let reader = blocking(self.barrier.admit()?, move || Reader::open(&request)).await?;
        Ok(Response::new(self.behind_barrier(reader.into_stream())))
    }

    async fn write(
        &self,
        request: Request<Streaming<WriteInput>>,
    ) -> Result<Response<WriteResult>, Status> {
        drop(self.barrier.admit()?);
        let mut messages = request.into_inner();
        let first = messages.message().await?.and_then(|first| first.input);
        let Some(Input::Open(open)) = first else {
            return Err(invalid("input", "the first message opens the file"));
        };
        let accounts = self.accounts.clone();
        let pass = self.barrier.admit()?;
        let mut writer = blocking(pass, move || Writer::open(&open, &accounts)).await?;
        while let Some(message) = messages.message().await? {
            let data = match message.input {
                Some(Input::Data(data)) if data.len() <= protocol::MAX_CHUNK_BYTES => data,
                Some(Input::Data(_)) => {
                    return Err(invalid(
                        "data",
                        format!("more than {} bytes", protocol::MAX_CHUNK_BYTES),
                    ));
                }
                _ => return Err(invalid("input", "only data may follow")),
            };
            let pass = self.barrier.admitted().await?;
            writer = blocking(pass, move || Ok(writer.write(&data).map(|()| writer)?)).await?;
        }
        let pass = self.barrier.admitted().await?;
        let bytes_written = blocking(pass, move || Ok(writer.finish()?)).await?;
        Ok(Response::new(WriteResult { bytes_written }))
    }

    async fn list(&self, request: Request<ListDir>) -> Result<Response<Self::ListStream>, Status> {
        let request = request.into_inner();
        let walk = blocking(self.barrier.admit()?, move || Walk::open(&request)).await?;
        Ok(Response::new(self.behind_barrier(walk.into_stream())))
    }

    async fn r#do(&self, request: Request<FileOperation>) -> Result<Response<FileResult>, Status> {
        let operation = request.into_inner().operation;
        let operation = operation.ok_or_else(|| invalid("operation", "missing"))?;
        let accounts = self.accounts.clone();
        let work = move || operations::perform(operation, &accounts);
        blocking(self.barrier.admit()?, work)
            .await
            .map(Response::new)
    }
}
