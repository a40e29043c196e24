//! `deno.repl`: code that is evaluated line by line in one process, and gives values.
//!
//! `deno repl --json` takes messages over descriptor 3: a message's length (little-endian, 32 bits) and the message, JSON. It does
//! not tell values but what they are as texts, so that a second line makes JSON of what the first has given.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use bytes::Bytes;
use command_fds::{CommandFdExt as _, FdMapping};
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::super::launch::{Extras, Setting};
use super::super::processes::{Child, unknown};
use super::OfOne;
use crate::state::State;
use crate::wire::{Answer, Error, Failure};

/// Where Deno looks for messages.
const DESCRIPTOR: i32 = 3;
/// The longest message in bytes: as long as one of a client.
const MOST: usize = 64 << 20;
/// Deno keeps the last value and what was thrown last behind these; code may have variables of the same names.
const BEGIN: &str = "(() => { const of = name => Object.getOwnPropertyDescriptor(globalThis, name).get; \
    globalThis[Symbol.for('thaw.repl')] = { value: of('_'), thrown: of('_error') } })()";
/// The last value as JSON. Values of classes that JSON has nothing for become what is most like them there.
const VALUE: &str = "JSON.stringify(await globalThis[Symbol.for('thaw.repl')].value(), (_, value) => \
    value instanceof Map ? Object.fromEntries(value) : value instanceof Set ? [...value] : value)";
/// What was thrown last: its name and its message.
const THROWN: &str = "JSON.stringify((e => e instanceof Error ? [e.name, e.message] : \
    ['Error', `Uncaught ${Deno.inspect(e)}`])(globalThis[Symbol.for('thaw.repl')].thrown()))";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spawn {
    #[serde(flatten)]
    setting: Setting,
    script_args: Option<Vec<String>>,
}

#[derive(Deserialize)]
pub(super) struct Eval {
    pid: u32,
    code: String,
}

#[derive(Deserialize)]
pub(super) struct Call {
    pid: u32,
    r#fn: String,
    args: Vec<Value>,
}

/// The line to a process. One thing at a time is evaluated.
pub(in super::super) struct Repl(Mutex<Line>);

struct Line {
    messages: Framed<UnixStream, LengthDelimitedCodec>,
    /// Nothing was said yet.
    new: bool,
    /// What comes now would be the answer to something else.
    broken: bool,
}

/// What Deno says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
enum Reply {
    RunSuccess {
        output: Option<String>,
    },
    /// Something was thrown.
    RunFailure {},
    /// It was not run: it is no code.
    Error {
        error: String,
    },
}

pub(super) fn spawn(state: &State, asked: &Spawn) -> Answer {
    let connected = StdUnixStream::pair().and_then(|(ours, theirs)| {
        ours.set_nonblocking(true)?;
        Ok((UnixStream::from_std(ours)?, theirs))
    });
    let failed = |error| Error::io(&error, "make a connection to Deno");
    let (ours, theirs) = connected.map_err(failed)?;
    let mut command = super::deno(state, &asked.setting);
    command.args(["repl", "--allow-all", "--no-prompt", "--json", "--"]);
    command.args(asked.script_args.iter().flatten());
    let theirs = FdMapping {
        parent_fd: OwnedFd::from(theirs),
        child_fd: DESCRIPTOR,
    };
    let mapped = command.fd_mappings(vec![theirs]);
    mapped.map_err(|error| Error::new("Error", error.to_string()))?;
    let codec = LengthDelimitedCodec::builder()
        .little_endian()
        .max_frame_length(MOST)
        .new_framed(ours);
    let extras = Extras {
        repl: Some(Arc::new(Repl(Mutex::new(Line {
            messages: codec,
            new: true,
            broken: false,
        })))),
        ..Extras::default()
    };
    Ok(super::start(state, &asked.setting, command, extras)?.told())
}

pub(super) async fn eval(state: &State, asked: Eval) -> Answer {
    evaluate(find(state, asked.pid)?, asked.code).await
}

pub(super) async fn call(state: &State, asked: &Call) -> Answer {
    let args = Value::from(asked.args.as_slice()).to_string();
    let code = format!("await ({}\n)(...{args})", asked.r#fn);
    evaluate(find(state, asked.pid)?, code).await
}

pub(super) async fn close(state: &State, asked: OfOne) -> Answer {
    find(state, asked.pid)?;
    let mut child = state.shared.children.find(asked.pid);
    let child = child.as_mut().ok_or_else(|| unknown(asked.pid))?;
    if child.ended.borrow().is_some() {
        let text = "the REPL has ended already";
        return Err(Error::type_error(text).with_code("ENOENT").into());
    }
    if let Ok(pid) = i32::try_from(asked.pid) {
        // Then it ends all the same.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = child.ended.wait_for(Option::is_some).await;
    Ok(Value::Null)
}

fn find(state: &State, pid: u32) -> Result<(Arc<Repl>, Child), Failure> {
    let child = state.shared.children.find(pid);
    let child = child.ok_or_else(|| unknown(pid))?;
    let none = || Error::type_error(format!("process {pid} is no REPL"));
    Ok((child.repl.clone().ok_or_else(none)?, child))
}

/// In a task of its own: half of a conversation would be answered to the next one who asks. A program that the code has started
/// may keep the line open when Deno itself has ended.
async fn evaluate((repl, mut child): (Arc<Repl>, Child), code: String) -> Answer {
    let evaluated = tokio::spawn(async move {
        tokio::select! {
            biased;
            value = async { repl.0.lock().await.evaluate(&code).await } => value,
            _ = child.ended.wait_for(Option::is_some) => Err(ended()),
        }
    });
    let lost = |_| Error::new("Error", "the evaluation broke off");
    Ok(evaluated.await.map_err(lost)??)
}

impl Line {
    async fn evaluate(&mut self, code: &str) -> Result<Value, Error> {
        if std::mem::take(&mut self.new) {
            self.ask(BEGIN, false).await?;
        }
        self.ask(code, false).await?;
        let value = self.ask(VALUE, true).await?;
        // Of what JSON has nothing for, such as `undefined`, there is no JSON.
        Ok(value
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or(Value::Null))
    }

    async fn ask(&mut self, code: &str, output: bool) -> Result<Option<String>, Error> {
        match self.run(code, output).await? {
            Reply::RunSuccess { output } => Ok(output),
            Reply::Error { error } => Err(named("SyntaxError", error)),
            Reply::RunFailure {} => Err(match self.run(THROWN, true).await? {
                Reply::RunSuccess { output } => thrown(output.as_deref().unwrap_or_default()),
                _ => Error::new("Error", "something was thrown that says nothing of itself"),
            }),
        }
    }

    async fn run(&mut self, code: &str, output: bool) -> Result<Reply, Error> {
        // What nobody has asked for would be taken for the answer to this.
        let early = self.messages.next().now_or_never().is_some();
        if early || self.broken {
            self.broken = true;
            return Err(ended());
        }
        let said = self.exchange(code, output).await;
        self.broken = said.is_err();
        said
    }

    async fn exchange(&mut self, code: &str, output: bool) -> Result<Reply, Error> {
        let message = json!({"type": "Run", "code": code, "output": output}).to_string();
        let sent = self.messages.send(Bytes::from(message)).await;
        sent.map_err(|_| ended())?;
        let reply = self.messages.next().await.and_then(Result::ok);
        serde_json::from_slice(&reply.ok_or_else(ended)?)
            .map_err(|error| Error::new("Error", format!("this Deno speaks otherwise: {error}")))
    }
}

fn ended() -> Error {
    Error::new("Error", "the REPL has ended")
}

/// What was thrown, from JSON.
fn thrown(text: &str) -> Error {
    let read = serde_json::from_str::<(String, String)>(text);
    let (name, message) = read.unwrap_or_else(|_| ("Error".to_owned(), text.to_owned()));
    named(&name, message)
}

/// An error of a class that the SDKs know, if there is one of this name.
fn named(name: &str, message: String) -> Error {
    let known = [
        "Error",
        "EvalError",
        "RangeError",
        "ReferenceError",
        "SyntaxError",
        "TypeError",
        "URIError",
    ];
    let message = message
        .strip_prefix(&format!("{name}: "))
        .map(str::to_owned)
        .unwrap_or(message);
    match known.into_iter().find(|known| *known == name) {
        Some(known) => Error::new(known, message),
        None => Error::new("Error", format!("{name}: {message}")),
    }
}
