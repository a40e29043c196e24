//! `cargo xtask down`

use std::{fs, process::ExitCode};

use anyhow::Result;
use clap::Args;

use super::up;
use crate::{
    doors,
    host::{Here, Host},
    paths, progress,
    service::Service,
    virtual_host::VirtualHost,
};

/// Stop hostd and the virtual host, and leave nothing behind but the cache.
#[derive(Args, Debug)]
pub struct Arguments {}

/// Runs the command.
///
/// # Errors
/// When something does not end.
pub fn run(_: Arguments) -> Result<ExitCode> {
    let cache = paths::cache()?;
    if let Some(host) = VirtualHost::running()? {
        let step = progress::step("stopping the virtual host");
        host.stop()?;
        step.done();
    }
    let here = Host::Here(Here::new()?);
    let service = Service::new(&here, up::NAME);
    service.stop()?;
    doors::remove_files(&service)?;
    for directory in [paths::runtime(&cache)?, paths::state(&cache)?] {
        fs::remove_dir_all(directory)?;
    }
    Ok(ExitCode::SUCCESS)
}
