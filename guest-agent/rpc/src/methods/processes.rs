//! Programs.
//!
//! Their output goes to the client in streams that begin when it waits for the program: both SDKs do so as soon as they have made
//! room for the streams, and the Python one drops what comes before. It sends all of the input first.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::connection::read;
use crate::state::State;
use crate::streams::{PIECE, Reader};
use crate::wire::{Answer, Error, Failure};

/// Output is sent without anybody waiting for the program so long after it has all of its input.
const UNATTENDED: Duration = Duration::from_secs(2);
/// Bytes of each stream that are held until then; a program that has more to say waits.
const HELD: usize = 32 << 20;
/// Ends of programs that are remembered: the oldest are forgotten.
const REMEMBERED: usize = 4096;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spawn {
    command: String,
    args: Option<Vec<String>>,
    env: Option<BTreeMap<String, String>>,
    clear_env: Option<bool>,
    cwd: Option<String>,
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

#[derive(Deserialize)]
struct OfOne {
    pid: u32,
    #[serde(default)]
    signal: Option<String>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Code(i32),
    Signal(i32),
}

/// The programs that were started: they go on when the client that started them has gone.
#[derive(Default)]
pub(crate) struct Children(Mutex<BTreeMap<u32, Child>>);

#[derive(Clone)]
struct Child {
    ended: watch::Receiver<Option<Ended>>,
    attention: Attention,
}

/// What the output of a program waits for.
#[derive(Clone, Default)]
struct Attention {
    /// Somebody waits for the program.
    awaited: CancellationToken,
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

impl Children {
    fn add(&self, pid: u32, child: Child) {
        let mut all = self.all();
        if all.len() >= REMEMBERED {
            let oldest = all.iter().find(|(_, child)| child.ended.borrow().is_some());
            if let Some(oldest) = oldest.map(|(pid, _)| *pid) {
                all.remove(&oldest);
            }
        }
        all.insert(pid, child);
    }

    fn find(&self, pid: u32) -> Option<Child> {
        self.all().get(&pid).cloned()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u32, Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn call(state: &State, method: &str, params: &str) -> Answer {
    match method {
        "spawn" => spawn(state, read(params)?),
        "processWait" => wait(state, &read(params)?).await,
        "processKill" => kill(state, &read(params)?),
        _ => Err(Failure::UnknownMethod),
    }
}

fn spawn(state: &State, asked: Spawn) -> Answer {
    let stdin = asked
        .stdin_stream_id
        .map(|id| state.incoming.reader(id))
        .transpose()?;
    let mut command = Command::new(&asked.command);
    command.args(asked.args.unwrap_or_default()).env_clear();
    if !asked.clear_env.unwrap_or(false) {
        command.envs(&*state.shared.variables());
    }
    command.envs(asked.env.unwrap_or_default());
    if let Some(cwd) = asked.cwd {
        command.current_dir(cwd);
    }
    let output = |output| match output {
        Output::Piped => Stdio::piped(),
        Output::Null => Stdio::null(),
    };
    command
        .stdin(if stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(output(asked.stdout))
        .stderr(output(asked.stderr))
        .process_group(0);
    let spawned = command.spawn();
    let mut child =
        spawned.map_err(|error| Error::io(&error, &format!("spawn '{}'", asked.command)))?;
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
    let stdout = child
        .stdout
        .take()
        .map(|pipe| pass(state, pipe, &attention));
    let stderr = child
        .stderr
        .take()
        .map(|pipe| pass(state, pipe, &attention));
    let (tell, ended) = watch::channel(None);
    tokio::spawn(async move {
        let status = child.wait().await;
        tell.send_replace(Some(Ended::of(status)));
    });
    state.shared.children.add(pid, Child { ended, attention });
    Ok(json!({"pid": pid, "stdoutStreamId": stdout, "stderrStreamId": stderr}))
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

async fn wait(state: &State, asked: &OfOne) -> Answer {
    let mut child = state
        .shared
        .children
        .find(asked.pid)
        .ok_or_else(|| unknown(asked.pid))?;
    child.attention.awaited.cancel();
    let ended = child.ended.wait_for(Option::is_some).await;
    let ended = ended.ok().and_then(|ended| *ended);
    let ended = ended.ok_or_else(|| Error::new("Error", "nobody knows how it ended"))?;
    Ok(ended.told())
}

fn kill(state: &State, asked: &OfOne) -> Answer {
    let signal: Signal = match &asked.signal {
        None => Signal::SIGTERM,
        Some(name) => name
            .parse()
            .map_err(|_| Error::type_error(format!("{name:?} is no signal")))?,
    };
    let child = state
        .shared
        .children
        .find(asked.pid)
        .ok_or_else(|| unknown(asked.pid))?;
    if child.ended.borrow().is_some() {
        let text = "Child process has already terminated";
        return Err(Error::type_error(text).with_code("ENOENT").into());
    }
    // As Deno does: the program alone, and not what it started.
    let pid = i32::try_from(asked.pid).map(Pid::from_raw);
    let sent = pid.map(|pid| nix::sys::signal::kill(pid, signal));
    match sent {
        Ok(Err(errno)) => Err(Error::io(&errno.into(), "kill").into()),
        _ => Ok(Value::Null),
    }
}

fn unknown(pid: u32) -> Error {
    Error::type_error(format!("there is no process {pid}")).with_code("ENOENT")
}

impl Ended {
    fn of(status: std::io::Result<std::process::ExitStatus>) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        let Ok(status) = status else {
            return Self::Code(1);
        };
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Code(code),
            (None, signal) => Self::Signal(signal.unwrap_or(0)),
        }
    }

    /// As Deno tells it: a signal's number and 128 is a code, as in a shell.
    fn told(self) -> Value {
        let (code, signal) = match self {
            Self::Code(code) => (code, None),
            Self::Signal(number) => {
                let name = Signal::try_from(number).map(Signal::as_str);
                (128 + number, name.ok())
            }
        };
        json!({"success": code == 0, "code": code, "signal": signal, "oom": null})
    }
}
