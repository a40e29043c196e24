//! A machine that can run VMs: this one, or the virtual host.

mod fitness;
mod here;

use std::{io::Write, process::Stdio};

use anyhow::{Result, ensure};

pub use self::here::Here;
use crate::{
    products::{Products, Set},
    virtual_host::VirtualHost,
};

/// `1`: the virtual host even where KVM is fit.
const FORCE_VIRTUAL: &str = "THAW_VIRTUAL_HOST";

/// Where VMs run.
#[derive(Debug)]
pub enum Host {
    /// On this machine.
    Here(Here),
    /// In an emulated one.
    Virtual(VirtualHost),
}

impl Host {
    /// Chooses a host and makes it ready. KVM's fitness is measured with the vmm in `products`.
    ///
    /// # Errors
    /// When the virtual host is needed and cannot be started.
    pub fn ready(products: &Products) -> Result<Self> {
        let forced = std::env::var_os(FORCE_VIRTUAL).is_some_and(|value| value == "1");
        if !forced
            && products
                .program("vmm")
                .is_ok_and(|vmm| fitness::is_fit(vmm))
        {
            return Ok(Self::Here(Here::new()?));
        }
        Ok(Self::Virtual(VirtualHost::start()?))
    }

    /// Whether the virtual host runs already, for those who stop what they started.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn is_running() -> Result<bool> {
        Ok(VirtualHost::running()?.is_some())
    }

    /// Brings a set of files to the host; returns its directory there.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn shelve(&self, set: &Set) -> Result<String> {
        match self {
            Self::Here(here) => here.shelve(set),
            Self::Virtual(host) => host.shelve(set),
        }
    }

    /// Lets the host run on when this command has ended.
    ///
    /// # Errors
    /// When that cannot be noted.
    pub fn keep(&self) -> Result<()> {
        match self {
            Self::Here(_) => Ok(()),
            Self::Virtual(host) => host.keep(),
        }
    }

    /// Runs a shell line as [`Self::run`] does, with `input` as its standard input: for what is not
    /// to be seen among a command's arguments.
    ///
    /// # Errors
    /// When it fails.
    pub fn run_with_input(&self, line: &str, input: &[u8]) -> Result<()> {
        let mut command = match self {
            Self::Here(_) => {
                let mut command = std::process::Command::new("sh");
                command.arg("-c");
                command
            }
            Self::Virtual(host) => {
                host.ssh().connect()?;
                host.ssh().command(&["-T"])
            }
        };
        let mut child = command.arg(line).stdin(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input)?;
        }
        ensure!(child.wait()?.success(), "`{line}` failed");
        Ok(())
    }

    /// Runs a shell line as root (or as this user, here) and returns what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, line: &str) -> Result<String> {
        match self {
            Self::Here(here) => here.run(line),
            Self::Virtual(host) => host.ssh().run(line),
        }
    }

    /// What can be seen from outside of a host that no longer answers; `None` when it answers.
    pub fn symptoms(&self) -> Option<String> {
        match self {
            Self::Virtual(host) if host.ssh().run("true").is_err() => Some(host.symptoms()),
            _ => None,
        }
    }

    /// A directory of the host for what is slow to make again: `down` leaves it.
    pub fn cache(&self) -> &str {
        match self {
            Self::Here(here) => here.cache(),
            Self::Virtual(_) => "/scratch",
        }
    }

    /// A directory of the host for state, on a disk.
    pub fn scratch(&self) -> &str {
        match self {
            Self::Here(here) => here.scratch(),
            Self::Virtual(_) => "/scratch",
        }
    }

    /// A directory of the host for sockets and files that are gone after `down`.
    pub fn runtime(&self) -> &str {
        match self {
            Self::Here(here) => here.runtime(),
            Self::Virtual(_) => "/run/thaw",
        }
    }

    /// The address on which a server must listen to be reached through 127.0.0.1 of this machine.
    pub fn listen_address(&self) -> &'static str {
        match self {
            Self::Here(_) => "127.0.0.1",
            Self::Virtual(_) => "0.0.0.0",
        }
    }

    /// Makes `port` of 127.0.0.1 lead to the same port of the host.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn forward(&self, port: u16) -> Result<()> {
        match self {
            Self::Here(_) => Ok(()),
            Self::Virtual(host) => host.forward(port),
        }
    }

    /// Undoes [`Self::forward`].
    pub fn end_forward(&self, port: u16) {
        if let Self::Virtual(host) = self {
            host.end_forward(port);
        }
    }

    /// What it is, in a few words.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Here(_) => "this machine",
            Self::Virtual(_) => "the virtual host",
        }
    }
}
