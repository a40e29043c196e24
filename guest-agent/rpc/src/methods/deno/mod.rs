//! Programs of Deno's: `deno.run`, `deno.repl` and `deno.eval`. They need `deno` among the sandbox's programs.
//!
//! It is started with all permissions: what it may do is for the sandbox to say.

mod repl;
mod run;

use std::io::ErrorKind;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use super::blocking;
use super::launch::{Extras, Setting, Started};
use super::processes::unknown;
use crate::connection::read;
use crate::exposed;
use crate::state::State;
use crate::wire::{Answer, Error, Failure};

pub(super) use repl::Repl;

/// The program.
const DENO: &str = "deno";
/// A program that is to listen is looked at after this, and then less and less often.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct OfOne {
    pid: u32,
}

pub(super) async fn call(state: &State, method: &str, params: &str) -> Answer {
    match method {
        "spawnDeno" => run::call(state, read(params)?).await,
        "denoHttpWait" => listens(state, &read(params)?).await,
        "spawnDenoRepl" => repl::spawn(state, &read(params)?),
        "denoReplEval" => repl::eval(state, read(params)?).await,
        "denoReplCall" => repl::call(state, &read(params)?).await,
        "denoReplClose" => repl::close(state, read(params)?).await,
        _ => Err(Failure::UnknownMethod),
    }
}

/// `deno` with a setting's variables, to which the arguments are to be added.
fn deno(state: &State, setting: &Setting) -> Command {
    let mut command = setting.command(state, DENO);
    // Where the sandbox reaches nobody, it would wait for an answer.
    command.env("DENO_NO_UPDATE_CHECK", "1");
    command
}

fn start(
    state: &State,
    setting: &Setting,
    command: Command,
    extras: Extras,
) -> Result<Started, Failure> {
    setting
        .start(state, command, extras)
        .map_err(|failure| match failure {
            Failure::Failed(error) if error.code.as_deref() == Some("ENOENT") => {
                let text = "this sandbox has no program `deno`, or no such directory; start it from a snapshot of one that has";
                Error::new("NotFound", text).with_code("ENOENT").into()
            }
            other => other,
        })
}

/// Waits until a program listens. False: it ended before.
async fn listens(state: &State, asked: &OfOne) -> Answer {
    let mut child = state.shared.children.find(asked.pid);
    let child = child.as_mut().ok_or_else(|| unknown(asked.pid))?;
    let mut wait = FIRST_LOOK;
    loop {
        if child.ended.borrow().is_some() {
            return Ok(Value::Bool(false));
        }
        if port(asked.pid).await?.is_some() {
            return Ok(Value::Bool(true));
        }
        // Whether it has ended is seen above.
        let _ = tokio::time::timeout(wait, child.ended.changed()).await;
        wait = (wait * 2).min(LAST_LOOK);
    }
}

/// The port that a program listens on, if it does.
pub(super) async fn port(pid: u32) -> Result<Option<u16>, Failure> {
    blocking(move || match exposed::listening(pid) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        found => found.map_err(|error| Error::io(&error, "look for a port")),
    })
    .await
}
