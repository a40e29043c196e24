//! A small internet for tests: a network namespace with a name server and web servers, beside the host's own network.
//!
//! Its addresses look like public ones and belong to nobody else here: they are those of a veth pair whose far end is in
//! the namespace. Packets cannot leave it, and it is gone with the process that made it, however that ends.

pub mod addresses;
mod certificates;
pub mod git;
pub mod grpc;
pub mod guard;
mod names;
pub mod packages;
mod record;
mod serve;
mod web;
mod wire;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::products::Products;

pub use record::{AUTHORITY, Seen};
pub use serve::{begin, run};
pub use web::TOKEN;
pub use wire::enter;

/// Making a certificate and a veth pair takes a moment where the processor is emulated.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// A running world.
#[derive(Debug)]
pub struct World {
    directory: TempDir,
    _process: Child,
}

impl World {
    /// Makes one. There is room for one at a time.
    pub async fn start() -> crate::Result<Self> {
        let directory = tempfile::Builder::new().prefix("world-").tempdir()?;
        let mut process = Command::new(Products::find()?.binary("world")?)
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().context("no output")?;
        let mut lines = BufReader::new(output).lines();
        let ready = tokio::time::timeout(START_TIMEOUT, lines.next_line()).await??;
        ensure!(ready.as_deref() == Some("ready"), "the world did not start");
        Ok(Self {
            directory,
            _process: process,
        })
    }

    /// What a hostd needs to know to reach it.
    pub fn hostd_options(&self) -> Vec<OsString> {
        vec![
            "--dns".into(),
            addresses::NAME_SERVER.to_string().into(),
            "--upstream-ca".into(),
            self.file(record::AUTHORITY).into(),
        ]
    }

    /// The requests that its servers have received, as they received them.
    pub fn requests(&self) -> crate::Result<Vec<Seen>> {
        record::read(&self.file(record::REQUESTS))
    }

    /// The names that its name server was asked for.
    pub fn questions(&self) -> crate::Result<Vec<String>> {
        record::read(&self.file(record::QUESTIONS))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}
