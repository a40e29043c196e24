//! `thaw inspect` and `thaw logs`: what is known of one sandbox.

use std::io::{IsTerminal, stdout};

use clap::Args;
use protocol::hostd::v1::{GetSandboxRequest, Sandbox};

use crate::client::Hostd;
use crate::error::Error;
use crate::{json, output};

#[derive(Debug, Args)]
pub struct Inspect {
    /// The sandbox
    sandbox: String,
}

#[derive(Debug, Args)]
pub struct Logs {
    /// The sandbox
    sandbox: String,
}

pub async fn inspect(hostd: &Hostd, inspect: Inspect) -> Result<(), Error> {
    output::json(&json::sandbox(&get(hostd, &inspect.sandbox).await?))
}

/// Prints the console's tail, for which only a failed sandbox is asked.
pub async fn logs(hostd: &Hostd, logs: Logs) -> Result<(), Error> {
    let sandbox = get(hostd, &logs.sandbox).await?;
    let Some(failure) = &sandbox.failure else {
        return Err(Error::Usage(format!(
            "{} did not fail (it is {}); the console is kept of failed sandboxes",
            sandbox.id,
            json::state(&sandbox)
        )));
    };
    // On a terminal the guest's escape sequences are shown, in a file they are kept.
    match stdout().is_terminal() {
        true => output::line(&output::printable_lines(&failure.console_tail)),
        false => output::line(failure.console_tail.trim_end_matches('\n')),
    }
}

async fn get(hostd: &Hostd, id: &str) -> Result<Sandbox, Error> {
    let request = GetSandboxRequest {
        sandbox_id: id.to_owned(),
    };
    let answer = hostd.sandboxes().get(request).await;
    Ok(answer.map_err(Error::refused(id))?.into_inner())
}
