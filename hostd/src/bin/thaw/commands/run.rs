//! `thaw run`: a sandbox for one program.

use std::time::Duration;

use clap::Args;
use protocol::hostd::v1::{ExtendTimeoutRequest, KillSandboxRequest};

use super::options::{ProgramOptions, SandboxOptions};
use crate::args::to_proto;
use crate::client::Hostd;
use crate::error::Error;
use crate::exit;
use crate::output;
use crate::session::{self, signals::Signals};

/// The sandbox outlives a `thaw run` that was killed outright by no more than this.
const LEASE: Duration = Duration::from_secs(600);
/// How often the lease is renewed: a few renewals may fail.
const RENEWAL: Duration = Duration::from_secs(120);
/// How long the end of the sandbox is waited for.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    sandbox: SandboxOptions,
    #[command(flatten)]
    program: ProgramOptions,
    /// Leave the sandbox running afterwards; its id goes to standard error
    #[arg(long, conflicts_with = "rm")]
    keep: bool,
    /// End the sandbox afterwards (this is the default)
    #[arg(long)]
    rm: bool,
    /// The program and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        default_value = "bash"
    )]
    pub program_and_args: Vec<String>,
}

/// Creates the sandbox, runs the program, ends the sandbox however that went.
pub async fn run(hostd: &Hostd, run: Run) -> Result<u8, Error> {
    let mut signals = Signals::new()?;
    let lease = (!run.keep).then_some(LEASE);
    let request = run.sandbox.request(lease)?;
    let failed = Error::refused(run.sandbox.source());
    let mut sandboxes = hostd.sandboxes();
    let mut creation = tokio::spawn(async move { sandboxes.create(request).await });

    let mut interrupted = None;
    let created = loop {
        tokio::select! {
            created = &mut creation => break created,
            // A creation that was asked for is seen through, so that its sandbox can be ended, unless that is asked for
            // again: then hostd ends what nobody waits for, or its lease does.
            signal = signals.next() => match interrupted {
                None => interrupted = Some(signal),
                Some(_) => return Ok(exit::of_signal(signal)),
            },
        }
    };
    let created = created.map_err(|panic| Error::Runtime(panic.into()))?;
    let id = created.map_err(failed)?.into_inner().id;

    let result = match interrupted {
        Some(signal) => Ok(exit::of_signal(signal)),
        None => tokio::select! {
            result = in_sandbox(hostd, &run, &id, &mut signals) => result,
            never = renew_lease(hostd, &id, lease) => match never {},
        },
    };
    match run.keep {
        true => eprintln!("thaw: sandbox {id} is left running"),
        false => kill(hostd, &id).await,
    }
    result
}

async fn in_sandbox(
    hostd: &Hostd,
    run: &Run,
    id: &str,
    signals: &mut Signals,
) -> Result<u8, Error> {
    let program = run.program.program(&run.program_and_args, &[]);
    session::run(hostd, id, program, signals).await
}

/// Keeps the sandbox alive for as long as this is polled.
async fn renew_lease(hostd: &Hostd, id: &str, lease: Option<Duration>) -> std::convert::Infallible {
    let Some(lease) = lease else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(RENEWAL).await;
        let request = ExtendTimeoutRequest {
            sandbox_id: id.to_owned(),
            timeout: Some(to_proto(lease)),
        };
        // When this goes on failing the session's own stream says why.
        let _ = hostd.sandboxes().extend_timeout(request).await;
    }
}

/// Ends the sandbox; a failure is told but does not replace the program's exit status.
async fn kill(hostd: &Hostd, id: &str) {
    let request = KillSandboxRequest {
        sandbox_id: id.to_owned(),
    };
    let mut sandboxes = hostd.sandboxes();
    let killed = tokio::time::timeout(KILL_TIMEOUT, sandboxes.kill(request)).await;
    let why = match killed {
        Ok(Ok(_)) => return,
        Ok(Err(status)) => output::printable(status.message()),
        Err(_) => "hostd does not answer".to_owned(),
    };
    eprintln!("thaw: {id} could not be ended: {why}\n  End it with `thaw kill {id}`.");
}
