//! Who is compared: a way from the client to the upstream each.

mod mitmproxy;
mod nginx;
mod ours;
mod program;

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tests::procfs;
use tests::world::addresses::{API, HTTPS};

use crate::client::Connector;
use crate::shares::KEY;

pub use self::program::{Program, on_core, start as start_program};

/// Names, in the order of the table.
pub const NAMES: [&str; 5] = [DIRECT, PASSED, OPENED, NGINX, MITMPROXY];
/// No proxy.
pub const DIRECT: &str = "direct";
/// Our proxy where nothing needs opening.
pub const PASSED: &str = "pass-through";
/// Our proxy with a secret to put in.
pub const OPENED: &str = "interception";
/// A reverse proxy that ends TLS and begins it anew.
pub const NGINX: &str = "nginx";
/// Its addon puts the secret in.
pub const MITMPROXY: &str = "mitmproxy";

/// Where to find what is not ours.
#[derive(Clone, Debug, clap::Args)]
pub struct Programs {
    /// nginx
    #[arg(long, value_name = "PATH", default_value = "nginx")]
    nginx: std::path::PathBuf,
    /// mitmproxy's program without a screen
    #[arg(long, value_name = "PATH", default_value = "mitmdump")]
    mitmdump: std::path::PathBuf,
}

/// A running one.
pub struct Contestant {
    /// One of [`NAMES`].
    pub name: &'static str,
    /// How a client connects.
    pub connector: Connector,
    room: Option<File>,
    program: Option<Program>,
}

/// What a contestant is started with.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// Where the upstream has written the authority's certificate; files may be put there.
    pub directory: &'a Path,
    /// The core of the proxy.
    pub core: Option<usize>,
    /// Programs of others.
    pub programs: &'a Programs,
}

impl Contestant {
    /// Starts one of [`NAMES`].
    pub fn start(name: &'static str, around: Surroundings<'_>) -> tests::Result<Self> {
        match name {
            DIRECT => Ok(Self {
                name,
                connector: Connector::new(SocketAddr::from((API, HTTPS)), KEY)?,
                room: None,
                program: None,
            }),
            NGINX => nginx::start(name, around),
            MITMPROXY => mitmproxy::start(name, around),
            _ => ours::start(name, around),
        }
    }

    /// The namespace of its clients, if that is another.
    pub fn room(&self) -> Option<&File> {
        self.room.as_ref()
    }

    /// Proportional set size in bytes.
    pub fn pss(&self) -> Option<u64> {
        procfs::pss(self.program.as_ref()?.pid())
    }

    /// Processor time so far.
    pub fn cpu_time(&self) -> Option<Duration> {
        let pid = self.program.as_ref()?.pid();
        // Nanoseconds on a processor, of each thread.
        let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let nanoseconds = threads.flatten().filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Some(Duration::from_nanos(nanoseconds.sum()))
    }
}
