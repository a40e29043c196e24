//! How programs are started, whatever asks for it.
//!
//! Their output goes to the client in streams that begin when it waits for the program: both SDKs do so as soon as they have made
//! room for the streams, and the Python one drops what comes before. It sends all of the input first.

use std::any::Any;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::deno::Repl;
use super::processes::{Child, Ended};
use crate::state::State;
use crate::streams::{PIECE, Reader};
use crate::wire::{Error, Failure};

/// Output is sent without anybody waiting for the program so long after it has all of its input.
const UNATTENDED: Duration = Duration::from_secs(2);
/// Bytes of each stream that are held until then; a program that has more to say waits.
const HELD: usize = 32 << 20;

/// What all programs are given in the same way.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Setting {
    env: Option<BTreeMap<String, String>>,
    clear_env: Option<bool>,
    pub(super) cwd: Option<String>,
    stdin_stream_id: Option<u64>,
    stdout: Output,
    stderr: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Output {
    Piped,
    Null,
}

/// What belongs to one program alone.
#[derive(Default)]
pub(super) struct Extras {
    /// Dropped when it has ended.
    pub(super) keep: Option<Box<dyn Any + Send>>,
    /// How it is told what to evaluate.
    pub(super) repl: Option<Arc<Repl>>,
}

/// A program that was started.
pub(super) struct Started {
    pid: u32,
    stdout: Option<u64>,
    stderr: Option<u64>,
}

impl Started {
    /// As the SDKs are told.
    pub(super) fn told(&self) -> Value {
        json!({"pid": self.pid, "stdoutStreamId": self.stdout, "stderrStreamId": self.stderr})
    }
}

/// What the output of a program waits for.
#[derive(Clone, Default)]
pub(super) struct Attention {
    /// Somebody waits for the program.
    pub(super) awaited: CancellationToken,
    /// It has all of its input.
    fed: CancellationToken,
}

impl Attention {
    async fn paid(&self) {
        let unattended = async {
            self.fed.cancelled().await;
            sleep(UNATTENDED).await;
        };
        tokio::select! {
            () = self.awaited.cancelled() => {}
            () = unattended => {}
        }
    }
}

impl Setting {
    /// With these variables besides the sandbox's, and both streams for the client.
    pub(super) fn piped(variables: BTreeMap<String, String>) -> Self {
        Self {
            env: Some(variables),
            clear_env: None,
            cwd: None,
            stdin_stream_id: None,
            stdout: Output::Piped,
            stderr: Output::Piped,
        }
    }

    /// A program with this setting's variables and directory.
    pub(super) fn command(&self, state: &State, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear();
        if !self.clear_env.unwrap_or(false) {
            command.envs(&*state.shared.variables());
        }
        command.envs(self.env.iter().flatten());
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        command
    }

    /// Starts it.
    pub(super) fn start(
        &self,
        state: &State,
        mut command: Command,
        extras: Extras,
    ) -> Result<Started, Failure> {
        let stdin = self.stdin_stream_id;
        let stdin = stdin.map(|id| state.incoming.reader(id)).transpose()?;
        let piped = |piped| match piped {
            true => Stdio::piped(),
            false => Stdio::null(),
        };
        command
            .stdin(piped(stdin.is_some()))
            .stdout(piped(self.stdout == Output::Piped))
            .stderr(piped(self.stderr == Output::Piped))
            .process_group(0);
        let spawned = command.spawn();
        let mut child = spawned.map_err(|error| {
            let program = command.as_std().get_program().to_string_lossy();
            Error::io(&error, &format!("spawn '{program}'"))
        })?;
        // Among them may be the program's end of a connection.
        drop(command);
        let pid = child
            .id()
            .ok_or_else(|| Error::new("Error", "it has ended already"))?;
        let attention = Attention::default();
        let fed = attention.fed.clone().drop_guard();
        if let (Some(stdin), Some(pipe)) = (stdin, child.stdin.take()) {
            tokio::spawn(async move {
                feed(stdin, pipe).await;
                drop(fed);
            });
        }
        let stdout = child.stdout.take();
        let stdout = stdout.map(|pipe| pass(state, pipe, &attention));
        let stderr = child.stderr.take();
        let stderr = stderr.map(|pipe| pass(state, pipe, &attention));
        let (tell, ended) = watch::channel(None);
        let Extras { keep, repl } = extras;
        tokio::spawn(async move {
            let status = child.wait().await;
            drop(keep);
            tell.send_replace(Some(Ended::of(status)));
        });
        let child = Child {
            ended,
            attention,
            repl,
        };
        state.shared.children.add(pid, child);
        Ok(Started {
            pid,
            stdout,
            stderr,
        })
    }
}

/// Gives a program what the client sends.
async fn feed(mut stream: Reader, mut pipe: ChildStdin) {
    while let Some(Ok(bytes)) = stream.next().await {
        // A program that does not read any more needs no more.
        if pipe.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Sends a program's output; tells the stream's id.
fn pass(
    state: &State,
    mut pipe: impl AsyncRead + Unpin + Send + 'static,
    attention: &Attention,
) -> u64 {
    let writer = state.outgoing.begin(&state.outbox);
    let (id, attention) = (writer.id(), attention.clone());
    tokio::spawn(async move {
        let held = hold(&mut pipe, &attention).await;
        writer.start().await;
        writer.send(&held).await;
        let mut buffer = vec![0; PIECE];
        // Read to its end in any case, so that the program is not held up.
        while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
            if !writer.cancelled.is_cancelled() {
                writer.send(buffer.get(..length).unwrap_or_default()).await;
            }
        }
        writer.end().await;
    });
    id
}

/// What a program says before anybody listens.
async fn hold(pipe: &mut (impl AsyncRead + Unpin), attention: &Attention) -> Vec<u8> {
    let mut held = Vec::new();
    let mut paid = std::pin::pin!(attention.paid());
    let mut over = false;
    loop {
        let more = !over && held.len() < HELD;
        tokio::select! {
            biased;
            () = &mut paid => return held,
            read = pipe.read_buf(&mut held), if more => over = !matches!(read, Ok(1..)),
        }
    }
}
