//! The procedures, by area.

mod deno;
mod directories;
mod environment;
mod exposing;
mod fetch;
pub(crate) mod handles;
mod info;
mod launch;
pub(crate) mod processes;
mod search;
mod vscode;
mod whole;

use std::future::Future;

use serde::Deserialize;
use serde_json::Value;

use crate::connection::read;
use crate::state::State;
use crate::wire::{Answer, Error, Failure};

/// Carries out one request.
pub(crate) async fn call(state: &State, method: &str, params: &str) -> Answer {
    match method {
        "abort" => abort(state, params),
        "readFile" | "readTextFile" | "writeFile" | "writeTextFile" => {
            whole::call(state, method, params).await
        }
        "open" | "create" => handles::call(state, method, params).await,
        _ if method.starts_with("file") => handles::call(state, method, params).await,
        "walk" | "expandGlob" => search::call(state, method, params).await,
        "spawn" | "processWait" | "processKill" => processes::call(state, method, params).await,
        "envGet" | "envSet" | "envToObject" | "envDelete" => {
            environment::call(state, method, params)
        }
        "exposeHttp" => exposing::call(state, params).await,
        "fetch" => fetch::call(state, params).await,
        "spawnDeno" | "denoHttpWait" | "spawnDenoRepl" | "denoReplClose" | "denoReplEval"
        | "denoReplCall" => deno::call(state, method, params).await,
        "vscode" => vscode::call(state, params).await,
        // The client asks for its own disk to be written to.
        "download" => Err(Error::new("NotSupported", "read files instead").into()),
        _ => directories::call(method, params).await,
    }
}

fn abort(state: &State, params: &str) -> Answer {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Params {
        abort_id: u64,
    }
    let Params { abort_id } = read(params)?;
    state.abort(abort_id).cancel();
    Ok(Value::Null)
}

/// Does something until it is done, or its request is aborted.
async fn abortable<T>(
    state: &State,
    abort_id: Option<u64>,
    doing: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(id) = abort_id else {
        return doing.await;
    };
    let aborted = state.abort(id);
    tokio::select! {
        biased;
        () = aborted.cancelled() => Err(Error::aborted().into()),
        done = doing => done,
    }
}

/// Does what makes its thread wait somewhere else.
async fn blocking<T: Send + 'static>(
    doing: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(doing).await;
    let done = done.map_err(|_| Error::new("Error", "the operation broke off"))?;
    Ok(done?)
}
