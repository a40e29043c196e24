//! A process of a sandbox and its streams, in the words of a test.

use anyhow::{Context, bail, ensure};
use prost::bytes::Bytes;
use protocol::hostd::v1::ExecRequest;
use protocol::types::v1::process_input::Input;
use protocol::types::v1::process_output::Output as Message;
use protocol::types::v1::{
    Attach, CloseStdin, ExitStatus, ProcessInput, ProcessOutput, ProcessSpec, PtySize,
    exit_status::Status as Ended,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::Clients;

/// How a program starts: its name and arguments.
pub fn program<const N: usize>(words: [&str; N]) -> ProcessSpec {
    let mut words = words.iter().map(ToString::to_string);
    ProcessSpec {
        program: words.next().unwrap_or_default(),
        args: words.collect(),
        ..Default::default()
    }
}

/// How a shell line starts.
pub fn shell(line: &str) -> ProcessSpec {
    program(["sh", "-c", line])
}

/// How a Python program starts.
pub fn python(code: &str) -> ProcessSpec {
    program(["python3", "-c", code])
}

/// All that a process said, and how it ended.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub status: ExitStatus,
}

impl Output {
    /// Standard output, trimmed, of a process that ended well.
    pub fn text(self) -> crate::Result<String> {
        let stderr = String::from_utf8_lossy(&self.stderr);
        ensure!(self.code() == Some(0), "{:?}: {stderr}", self.status);
        Ok(String::from_utf8(self.stdout)?.trim().to_owned())
    }

    /// The exit code, if it ended with one.
    pub fn code(&self) -> Option<i32> {
        match self.status.status {
            Some(Ended::Code(code)) => Some(code),
            _ => None,
        }
    }

    /// The signal, if one killed it.
    pub fn signal(&self) -> Option<i32> {
        match self.status.status {
            Some(Ended::Signal(signal)) => Some(signal),
            _ => None,
        }
    }
}

/// A process that this test is attached to.
#[derive(Debug)]
pub struct Process {
    /// Its id in the sandbox.
    pub pid: u32,
    input: mpsc::Sender<ExecRequest>,
    output: Streaming<ProcessOutput>,
}

impl Process {
    pub(crate) async fn start(
        clients: &Clients,
        sandbox: &str,
        spec: ProcessSpec,
    ) -> Result<Self, Status> {
        Self::open(clients, sandbox, Input::Start(spec)).await
    }

    pub(crate) async fn attach(clients: &Clients, sandbox: &str, pid: u32) -> Result<Self, Status> {
        Self::open(clients, sandbox, Input::Attach(Attach { pid })).await
    }

    /// Opens a stream with this first message, over the given connection.
    pub async fn open(clients: &Clients, sandbox: &str, first: Input) -> Result<Self, Status> {
        let (input, receiver) = mpsc::channel(2);
        // The channel is empty and its receiver is here: this neither waits nor fails.
        let _ = input.send(request(sandbox, first)).await;
        let answer = clients
            .processes()
            .exec(ReceiverStream::new(receiver))
            .await?;
        let mut output = answer.into_inner();
        match output.message().await?.and_then(|message| message.output) {
            Some(Message::Started(started)) => Ok(Self {
                pid: started.pid,
                input,
                output,
            }),
            other => Err(Status::internal(format!("the first message is {other:?}"))),
        }
    }

    /// The next message; none after the exit status.
    pub async fn next(&mut self) -> Result<Option<Message>, Status> {
        Ok(self
            .output
            .message()
            .await?
            .and_then(|message| message.output))
    }

    /// Writes to its standard input, as fast as it reads.
    pub async fn write(&self, data: impl Into<Bytes>) -> crate::Result {
        self.send(Input::Stdin(data.into())).await
    }

    /// Ends its standard input.
    pub async fn close_stdin(&self) -> crate::Result {
        self.send(Input::CloseStdin(CloseStdin {})).await
    }

    /// Sets the size of its terminal.
    pub async fn resize(&self, rows: u32, cols: u32) -> crate::Result {
        self.send(Input::Resize(PtySize { rows, cols })).await
    }

    /// Sends its process group a signal.
    pub async fn signal(&self, signal: i32) -> crate::Result {
        self.send(Input::Signal(signal)).await
    }

    async fn send(&self, input: Input) -> crate::Result {
        let sent = self.input.send(request("", input)).await;
        sent.context("the process has ended")
    }

    /// Reads standard output until it holds `text`.
    pub async fn read_until(&mut self, text: &str) -> crate::Result<String> {
        let mut seen = Vec::new();
        loop {
            match self.next().await? {
                Some(Message::Stdout(data)) => seen.extend_from_slice(&data),
                Some(Message::Stderr(_) | Message::Started(_)) => {}
                end => bail!("{end:?} after {:?}", String::from_utf8_lossy(&seen)),
            }
            let so_far = String::from_utf8_lossy(&seen);
            if so_far.contains(text) {
                return Ok(so_far.into_owned());
            }
        }
    }

    /// Reads everything until it has ended.
    pub async fn output(mut self) -> crate::Result<Output> {
        let mut all = Output::default();
        loop {
            match self.next().await? {
                Some(Message::Stdout(data)) => all.stdout.extend_from_slice(&data),
                Some(Message::Stderr(data)) => all.stderr.extend_from_slice(&data),
                Some(Message::Started(_)) => bail!("started twice"),
                Some(Message::Exited(status)) => {
                    all.status = status;
                    ensure!(self.next().await?.is_none(), "a message after the last");
                    return Ok(all);
                }
                None => bail!("the stream ended without an exit status"),
            }
        }
    }
}

fn request(sandbox: &str, input: Input) -> ExecRequest {
    ExecRequest {
        sandbox_id: sandbox.to_owned(),
        input: Some(ProcessInput { input: Some(input) }),
    }
}
