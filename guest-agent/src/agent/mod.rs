//! The agent: four services on one vsock port.

mod listener;
mod server;
mod signals;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use protocol::AGENT_VSOCK_PORT;
use sandbox_rpc::RUN;

use crate::barrier::Barrier;
use crate::machine::{Guest, MachineError};
use crate::processes::Accounts;

pub use server::{ServeError, serve};
pub use signals::ignore_signals;

/// This agent's version, as snapshots record it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Threads for the runtime: two carry a stream's both ends on two vCPUs, more would only take memory.
const MAX_WORKERS: usize = 2;
/// Threads for blocking file work at once; further work waits its turn.
const MAX_BLOCKING: usize = 8;
/// How long an idle blocking thread stays: long, so that a snapshot holds one that is ready for the first call after
/// a restore.
const BLOCKING_KEEP: Duration = Duration::from_secs(24 * 3600);
/// Stack of each thread, in bytes of address space.
const THREAD_STACK: usize = 1 << 20;

/// Why the agent cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No runtime, hence no threads or descriptors.
    #[error("starting the runtime: {0}")]
    Runtime(std::io::Error),
    /// The guest lacks something.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The vsock port cannot be had.
    #[error("listening on vsock port {AGENT_VSOCK_PORT}: {0}")]
    Listen(std::io::Error),
    /// The server ended.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Serves until the machine ends. Called in the child that PID 1 has forked; returning resets the machine.
pub fn run() -> ExitCode {
    ignore_signals();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .without_time()
        .init();
    match serve_guest() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the agent cannot go on");
            ExitCode::FAILURE
        }
    }
}

fn serve_guest() -> Result<(), AgentError> {
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MAX_WORKERS);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(MAX_BLOCKING)
        .thread_keep_alive(BLOCKING_KEEP)
        .thread_stack_size(THREAD_STACK)
        .enable_all()
        .build()
        .map_err(AgentError::Runtime)?;
    let barrier = Arc::new(Barrier::new(Arc::new(Guest::new()?)));
    let accounts = Accounts::new("/etc", default_user());
    runtime.block_on(async {
        let connections = listener::listen(AGENT_VSOCK_PORT).map_err(AgentError::Listen)?;
        Ok(serve(barrier, accounts, RUN.into(), connections).await?)
    })
}

/// The image's default user: `thaw.user=` on the kernel's command line, which an image records; else root.
fn default_user() -> String {
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let user = cmdline
        .split_whitespace()
        .find_map(|word| word.strip_prefix("thaw.user="));
    user.unwrap_or("0").to_owned()
}
