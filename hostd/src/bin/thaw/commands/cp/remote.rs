//! The files of one sandbox.

use protocol::hostd::v1::{
    FileOperationRequest, ListDirRequest, ReadFileRequest, WriteFileRequest,
};
use protocol::types::v1::file_operation::{MakeDir, Operation, Remove, SetMode, Stat, Symlink};
use protocol::types::v1::write_input::Input;
use protocol::types::v1::{
    FileChunk, FileInfo, FileOperation, ListDir, ReadFile, WriteFile, WriteInput,
};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use tonic_types::StatusExt;

use crate::client::Hostd;
use crate::error::Error;

/// Bytes of one message.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks on their way.
const QUEUE: usize = 2;
/// Entries of one directory that are taken from a sandbox, which may invent any number.
const MAX_ENTRIES: usize = 1 << 20;

/// The files of one sandbox.
pub struct Remote<'a> {
    hostd: &'a Hostd,
    sandbox: String,
}

impl<'a> Remote<'a> {
    pub fn new(hostd: &'a Hostd, sandbox: String) -> Self {
        Self { hostd, sandbox }
    }

    /// What is at the path, links followed; none when there is nothing.
    pub async fn stat(&self, path: &str) -> Result<Option<FileInfo>, Error> {
        let stat = Stat {
            path: path.to_owned(),
            no_follow: false,
        };
        match self.operate(Operation::Stat(stat)).await {
            Ok(info) => Ok(Some(info)),
            Err(status) if has_errno(&status, "ENOENT") => Ok(None),
            Err(status) => Err(self.refused(path)(status)),
        }
    }

    /// Makes a directory with exactly these permission bits; an existing one gets them.
    pub async fn make_dir(&self, path: &str, mode: u32) -> Result<(), Error> {
        let make = MakeDir {
            path: path.to_owned(),
            recursive: false,
            mode: Some(mode),
        };
        match self.operate(Operation::MakeDir(make)).await {
            Err(status) if !has_errno(&status, "EEXIST") => {
                return Err(self.refused(path)(status));
            }
            _ => {}
        }
        let set_mode = SetMode {
            path: path.to_owned(),
            mode,
        };
        let set = self.operate(Operation::SetMode(set_mode)).await;
        set.map(drop).map_err(self.refused(path))
    }

    /// Makes a symbolic link, in place of whatever file has its name.
    pub async fn symlink(&self, target: &str, path: &str) -> Result<(), Error> {
        let symlink = Operation::Symlink(Symlink {
            target: target.to_owned(),
            path: path.to_owned(),
        });
        let mut made = self.operate(symlink.clone()).await;
        if matches!(&made, Err(status) if has_errno(status, "EEXIST")) {
            let remove = Remove {
                path: path.to_owned(),
                recursive: false,
            };
            let removed = self.operate(Operation::Remove(remove)).await;
            removed.map_err(self.refused(path))?;
            made = self.operate(symlink).await;
        }
        made.map(drop).map_err(self.refused(path))
    }

    /// Writes a file in whole or not at all.
    pub async fn write(
        &self,
        path: &str,
        mode: Option<u32>,
        content: impl AsyncRead + Unpin,
    ) -> Result<(), Error> {
        let (sender, receiver) = mpsc::channel::<Option<WriteFileRequest>>(QUEUE);
        // Ends at the `None` that follows the last chunk, and never otherwise: were it to end
        // when reading fails, the sandbox would take the part it has for the whole file.
        let stream = ReceiverStream::new(receiver)
            .chain(tokio_stream::pending())
            .map_while(std::convert::identity);
        let mut files = self.hostd.files();
        let mut call = std::pin::pin!(files.write(stream));
        let send = self.send(path, mode, content, &sender);
        let answer = tokio::select! {
            answer = &mut call => answer,
            sent = send => {
                sent?;
                call.await
            }
        };
        answer.map(drop).map_err(self.refused(path))
    }

    async fn send(
        &self,
        path: &str,
        mode: Option<u32>,
        mut content: impl AsyncRead + Unpin,
        sender: &Sender<Option<WriteFileRequest>>,
    ) -> Result<(), Error> {
        let open = WriteFile {
            path: path.to_owned(),
            mode,
            ..WriteFile::default()
        };
        let message = |input| {
            Some(WriteFileRequest {
                sandbox_id: self.sandbox.clone(),
                input: Some(WriteInput { input: Some(input) }),
            })
        };
        // A closed queue means that the call has its answer, which then counts.
        let _ = sender.send(message(Input::Open(open))).await;
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let count = content
                .read(&mut buffer)
                .await
                .map_err(|source| Error::Local {
                    what: format!("cannot read what goes to {path}"),
                    source,
                })?;
            let data: Vec<u8> = buffer.iter().take(count).copied().collect();
            let input = (count > 0).then_some(Input::Data(data.into()));
            let is_end = input.is_none();
            if sender.send(input.and_then(message)).await.is_err() || is_end {
                return Ok(());
            }
        }
    }

    /// A file's content, chunk by chunk.
    pub async fn read(&self, path: &str) -> Result<Streaming<FileChunk>, Error> {
        let request = ReadFileRequest {
            sandbox_id: self.sandbox.clone(),
            read: Some(ReadFile {
                path: path.to_owned(),
                ..ReadFile::default()
            }),
        };
        let answer = self.hostd.files().read(request).await;
        Ok(answer.map_err(self.refused(path))?.into_inner())
    }

    /// The entries of a directory itself.
    pub async fn list(&self, path: &str) -> Result<Vec<FileInfo>, Error> {
        let request = ListDirRequest {
            sandbox_id: self.sandbox.clone(),
            list: Some(ListDir {
                path: path.to_owned(),
                depth: 1,
            }),
        };
        let answer = self.hostd.files().list(request).await;
        let mut stream = answer.map_err(self.refused(path))?.into_inner();
        let mut entries = Vec::new();
        while let Some(some) = stream.message().await.map_err(self.refused(path))? {
            entries.extend(some.entries);
            if entries.len() > MAX_ENTRIES {
                return Err(Error::Usage(format!(
                    "{path} has more than {MAX_ENTRIES} entries: copy it as an archive"
                )));
            }
        }
        Ok(entries)
    }

    /// An error about one path of this sandbox.
    pub fn refused(&self, path: &str) -> impl FnOnce(Status) -> Error + use<> {
        Error::refused(format!("{}:{path}", self.sandbox))
    }

    async fn operate(&self, operation: Operation) -> Result<FileInfo, Status> {
        let request = FileOperationRequest {
            sandbox_id: self.sandbox.clone(),
            operation: Some(FileOperation {
                operation: Some(operation),
            }),
        };
        let answer = self.hostd.files().r#do(request).await?;
        Ok(answer.into_inner().info.unwrap_or_default())
    }
}

fn has_errno(status: &Status, errno: &str) -> bool {
    status
        .get_details_error_info()
        .is_some_and(|info| info.domain == "posix" && info.reason == errno)
}
