//! The program's output to standard output and standard error.

use std::io;

use protocol::types::v1::process_output::Output;
use protocol::types::v1::{ExitStatus, ProcessOutput};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tonic::{Status, Streaming};

use crate::error::Error;

/// Waits until the program has been started and gives its process id.
pub async fn started(stream: &mut Streaming<ProcessOutput>) -> Result<u32, Status> {
    match stream.message().await?.and_then(|message| message.output) {
        Some(Output::Started(started)) => Ok(started.pid),
        _ => Err(Status::internal(
            "hostd did not say that the program started",
        )),
    }
}

/// Copies output until the program has ended. The next chunk is asked for only when the
/// one before it was written.
pub async fn copy(
    stream: &mut Streaming<ProcessOutput>,
    sandbox: &str,
) -> Result<ExitStatus, Error> {
    let mut stdout = tokio::io::stdout();
    let mut stderr = tokio::io::stderr();
    loop {
        let message = stream.message().await.map_err(Error::refused(sandbox))?;
        match message.and_then(|message| message.output) {
            Some(Output::Stdout(data)) => write(&mut stdout, &data).await.map_err(Error::stdout)?,
            // A closed standard error loses messages, as it does for any program.
            Some(Output::Stderr(data)) => write(&mut stderr, &data).await.unwrap_or_default(),
            Some(Output::Exited(status)) => return Ok(status),
            Some(Output::Started(_)) => {}
            None => return Err(Error::BrokeOff(sandbox.to_owned())),
        }
    }
}

async fn write(stream: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> io::Result<()> {
    stream.write_all(data).await?;
    stream.flush().await
}
