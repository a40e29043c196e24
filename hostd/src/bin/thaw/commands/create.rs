//! `thaw create`: a sandbox that stays.

use std::time::Duration;

use clap::Args;

use super::options::SandboxOptions;
use crate::args::duration;
use crate::client::Hostd;
use crate::error::Error;
use crate::{json, output};

#[derive(Debug, Args)]
pub struct Create {
    #[command(flatten)]
    sandbox: SandboxOptions,
    /// End the sandbox after this time, like 10m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
}

/// Prints the id, or the whole sandbox as JSON.
pub async fn run(hostd: &Hostd, create: Create, as_json: bool) -> Result<(), Error> {
    let request = create.sandbox.request(create.timeout)?;
    let sandbox = hostd
        .sandboxes()
        .create(request)
        .await
        .map_err(Error::refused(create.sandbox.source()))?
        .into_inner();
    match as_json {
        true => output::json(&json::sandbox(&sandbox)),
        false => output::line(&sandbox.id),
    }
}
