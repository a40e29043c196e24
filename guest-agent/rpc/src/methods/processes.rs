//! Programs: started, waited for, signalled.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::deno::Repl;
use super::launch::{Attention, Extras, Setting};
use crate::connection::read;
use crate::state::State;
use crate::wire::{Answer, Error, Failure};

/// Ends of programs that are remembered: the oldest are forgotten.
const REMEMBERED: usize = 4096;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spawn {
    command: String,
    args: Option<Vec<String>>,
    #[serde(flatten)]
    setting: Setting,
}

#[derive(Deserialize)]
struct OfOne {
    pid: u32,
    #[serde(default)]
    signal: Option<String>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Code(i32),
    Signal(i32),
}

/// The programs that were started: they go on when the client that started them has gone.
#[derive(Default)]
pub(crate) struct Children(Mutex<BTreeMap<u32, Child>>);

#[derive(Clone)]
pub(super) struct Child {
    pub(super) ended: watch::Receiver<Option<Ended>>,
    pub(super) attention: Attention,
    pub(super) repl: Option<Arc<Repl>>,
}

impl Children {
    pub(super) fn add(&self, pid: u32, child: Child) {
        let mut all = self.all();
        if all.len() >= REMEMBERED {
            let oldest = all.iter().find(|(_, child)| child.ended.borrow().is_some());
            if let Some(oldest) = oldest.map(|(pid, _)| *pid) {
                all.remove(&oldest);
            }
        }
        all.insert(pid, child);
    }

    pub(super) fn find(&self, pid: u32) -> Option<Child> {
        self.all().get(&pid).cloned()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u32, Child>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) async fn call(state: &State, method: &str, params: &str) -> Answer {
    match method {
        "spawn" => spawn(state, &read(params)?),
        "processWait" => wait(state, &read(params)?).await,
        "processKill" => kill(state, &read(params)?),
        _ => Err(Failure::UnknownMethod),
    }
}

fn spawn(state: &State, asked: &Spawn) -> Answer {
    let mut command = asked.setting.command(state, &asked.command);
    command.args(asked.args.iter().flatten());
    let started = asked.setting.start(state, command, Extras::default())?;
    Ok(started.told())
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

/// There is no such program.
pub(super) fn unknown(pid: u32) -> Error {
    Error::type_error(format!("there is no process {pid}")).with_code("ENOENT")
}

impl Ended {
    pub(super) fn of(status: std::io::Result<std::process::ExitStatus>) -> Self {
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
