//! Files: passed on to the sandbox's agent.

use protocol::MAX_CHUNK_BYTES;
use protocol::hostd::v1::files_server::Files;
use protocol::hostd::v1::{
    FileOperationRequest, ListDirRequest, ReadFileRequest, WriteFileRequest,
};
use protocol::types::v1::write_input::Input;
use protocol::types::v1::{DirEntries, FileChunk, FileResult, WriteInput, WriteResult};
use tonic::{Request, Streaming};

use super::relay::{self, Objection};
use super::{Answers, Response, auth};
use crate::error::{Error, Result};
use crate::sandboxes::Sandboxes;

/// The service.
#[derive(Clone, Debug)]
pub struct FilesApi {
    /// Whose files.
    pub sandboxes: Sandboxes,
}

#[tonic::async_trait]
impl Files for FilesApi {
    type ReadStream = Answers<FileChunk>;
    type ListStream = Answers<DirEntries>;

    async fn read(&self, request: Request<ReadFileRequest>) -> Response<Self::ReadStream> {
        let caller = auth::caller(request.extensions())?;
        let request = request.into_inner();
        let read = request
            .read
            .ok_or_else(|| Error::invalid("read", "is missing"))?;
        let sandbox = self
            .sandboxes
            .living_one(&caller, &request.sandbox_id)
            .await?;
        let mut files = sandbox.agent().await?.files();
        let mut objection = Objection::none();
        let chunks = relay::answer(&sandbox, &mut objection, files.read(read)).await?;
        Ok(tonic::Response::new(relay::answers(
            sandbox, chunks, objection,
        )))
    }

    async fn write(&self, request: Request<Streaming<WriteFileRequest>>) -> Response<WriteResult> {
        let caller = auth::caller(request.extensions())?;
        let mut inputs = request.into_inner();
        let first = relay::first(&mut inputs).await?;
        let opening = opening(first.input)?;
        let sandbox = self
            .sandboxes
            .living_one(&caller, &first.sandbox_id)
            .await?;
        let mut files = sandbox.agent().await?.files();
        let (requests, mut objection) =
            relay::requests(opening, inputs, |request: WriteFileRequest| {
                following(request.input)
            });
        let result = relay::answer(&sandbox, &mut objection, files.write(requests)).await?;
        Ok(tonic::Response::new(result))
    }

    async fn list(&self, request: Request<ListDirRequest>) -> Response<Self::ListStream> {
        let caller = auth::caller(request.extensions())?;
        let request = request.into_inner();
        let list = request
            .list
            .ok_or_else(|| Error::invalid("list", "is missing"))?;
        let sandbox = self
            .sandboxes
            .living_one(&caller, &request.sandbox_id)
            .await?;
        let mut files = sandbox.agent().await?.files();
        let mut objection = Objection::none();
        let entries = relay::answer(&sandbox, &mut objection, files.list(list)).await?;
        Ok(tonic::Response::new(relay::answers(
            sandbox, entries, objection,
        )))
    }

    async fn r#do(&self, request: Request<FileOperationRequest>) -> Response<FileResult> {
        let caller = auth::caller(request.extensions())?;
        let request = request.into_inner();
        let operation = request
            .operation
            .filter(|operation| operation.operation.is_some());
        let operation = operation.ok_or_else(|| Error::invalid("operation", "is missing"))?;
        let sandbox = self
            .sandboxes
            .living_one(&caller, &request.sandbox_id)
            .await?;
        let mut files = sandbox.agent().await?.files();
        let result = relay::answer(&sandbox, &mut Objection::none(), files.r#do(operation)).await?;
        Ok(tonic::Response::new(result))
    }
}

/// The first message opens the file.
fn opening(input: Option<WriteInput>) -> Result<WriteInput> {
    let input = input.ok_or_else(|| Error::invalid("input", "is missing"))?;
    match &input.input {
        Some(Input::Open(_)) => Ok(input),
        _ => Err(Error::invalid("input", "the first message must be `open`")),
    }
}

/// The others carry its bytes.
fn following(input: Option<WriteInput>) -> Result<WriteInput> {
    let input = input.ok_or_else(|| Error::invalid("input", "is missing"))?;
    match &input.input {
        Some(Input::Data(bytes)) if bytes.len() <= MAX_CHUNK_BYTES => Ok(input),
        Some(Input::Data(_)) => Err(Error::invalid("input.data", "has more than 1 MiB")),
        _ => Err(Error::invalid("input", "after `open` only `data` may come")),
    }
}
