//! Thaw's proxy.

use std::fs::File;
use std::net::SocketAddr;

use anyhow::Context;
use tests::world::addresses::{API, HTTPS};

use super::program::{on_core, start as start_program, until_ready};
use super::{Contestant, OPENED, Surroundings};
use crate::client::Connector;
use crate::shares::KEY;

/// Starts it for a sandbox with a secret, or for one without.
pub fn start(name: &'static str, around: Surroundings<'_>) -> tests::Result<Contestant> {
    let opened = name == OPENED;
    let mut command = on_core(around.core, std::env::current_exe()?);
    command.arg("gate").arg(around.directory);
    if opened {
        command.arg("--open");
    }
    let (program, said) = start_program(&mut command)?;
    let (descriptor, placeholder) = said.split_once(' ').context("no placeholder")?;
    let namespace = format!("/proc/{}/fd/{descriptor}", program.pid());
    let key = if opened { placeholder } else { KEY };
    until_ready(Contestant {
        name,
        connector: Connector::new(SocketAddr::from((API, HTTPS)), key)?,
        room: Some(File::open(namespace)?),
        program: Some(program),
    })
}
