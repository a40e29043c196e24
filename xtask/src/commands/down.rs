//! `cargo xtask down`

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::{progress, virtual_host::VirtualHost};

/// Stop hostd and the virtual host, and leave nothing behind but the cache.
#[derive(Args, Debug)]
pub struct Arguments {}

/// Runs the command.
///
/// # Errors
/// When something does not end.
pub fn run(_: Arguments) -> Result<ExitCode> {
    match VirtualHost::running()? {
        Some(host) => {
            let step = progress::step("stopping the virtual host");
            host.stop()?;
            step.done();
        }
        None => progress::say("nothing is running"),
    }
    Ok(ExitCode::SUCCESS)
}
