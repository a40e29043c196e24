//! From the client to the program: input, signals, the terminal's size.
//!
//! The next message is read only when the program's pipe has taken the last one: that is the back-pressure. A signal
//! that must overtake input which the program does not read goes through the unary `Signal` call.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use protocol::types::v1::{ProcessInput, process_input::Input};
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::process::{Process, Stdin};
use super::signal::Signal;
use super::spec::window;
use crate::status::{PosixError, invalid};

/// A relay whose client has broken off ends its stream in order and then resets it. The reset drops this task
/// before the end is taken for the end of the input.
const END_GRACE: Duration = Duration::from_millis(50);

/// Obeys a stream's messages until it ends or another stream takes its place.
///
/// When the stream that started the program ends in order, no more input can come, and a piped input is closed
/// after [`END_GRACE`]; the end of a stream that attached later says nothing.
///
/// # Errors
/// A message that makes no sense, or a broken stream.
pub(super) async fn feed(
    process: Arc<Process>,
    mut messages: Streaming<ProcessInput>,
    started_here: bool,
    taken_over: CancellationToken,
) -> Result<(), Status> {
    tokio::select! {
        biased;
        () = taken_over.cancelled() => Ok(()),
        result = obey(&process, &mut messages, started_here) => result,
    }
}

async fn obey(
    process: &Process,
    messages: &mut Streaming<ProcessInput>,
    started_here: bool,
) -> Result<(), Status> {
    while let Some(message) = messages.message().await? {
        match message.input.ok_or_else(|| invalid("input", "missing"))? {
            Input::Stdin(data) => write_stdin(process, &data).await?,
            Input::CloseStdin(_) => process.close_stdin().await,
            Input::Resize(size) => resize(process, size)?,
            Input::Signal(number) => signal(process, number)?,
            Input::Start(_) | Input::Attach(_) => {
                return Err(invalid(
                    "input",
                    "only the first message may start or attach",
                ));
            }
        }
    }
    if started_here && !process.description.pty {
        tokio::time::sleep(END_GRACE).await;
        process.close_stdin().await;
    }
    Ok(())
}

fn resize(process: &Process, size: protocol::types::v1::PtySize) -> Result<(), Status> {
    match process.resize(&window("resize", size)?) {
        Ok(()) => Ok(()),
        Err(Errno::ENOTTY) => Err(invalid("resize", "the process has no terminal")),
        Err(errno) => Err(PosixError::new("TIOCSWINSZ", "/dev/ptmx", errno).into()),
    }
}

/// A program that has just ended has nothing to say to a signal, and its end is on its way to the client.
fn signal(process: &Process, number: i32) -> Result<(), Status> {
    match process.signal(Signal::new(number)?) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(PosixError::new("kill", "", errno).into()),
    }
}

async fn write_stdin(process: &Process, data: &[u8]) -> Result<(), Status> {
    if data.len() > protocol::MAX_CHUNK_BYTES {
        return Err(invalid(
            "stdin",
            format!("more than {} bytes", protocol::MAX_CHUNK_BYTES),
        ));
    }
    let mut stdin = process.stdin.lock().await;
    match &*stdin {
        Stdin::Open(end) => {
            if write_all(end, data).await.is_err() {
                *stdin = Stdin::Broken;
            }
            Ok(())
        }
        Stdin::Broken => Ok(()),
        Stdin::Closed => Err(invalid("stdin", "was closed before")),
        Stdin::None => Err(invalid("stdin", "the process was started without")),
    }
}

/// Writes all of it, waiting for the program to read.
pub(super) async fn write_all(end: &AsyncFd<OwnedFd>, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let mut ready = end.writable().await?;
        match ready.try_io(|end| Ok(nix::unistd::write(end, data)?)) {
            Ok(Ok(count)) => data = data.get(count..).unwrap_or_default(),
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(error)) => return Err(error),
            Err(_would_block) => {}
        }
    }
    Ok(())
}
