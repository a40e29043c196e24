//! `/init` of a Thaw guest.

use std::path::Path;
use std::process::{Command, ExitCode};

use guest_agent::{agent, init};
use sandbox_rpc::{RUN, service};

/// What the program does as a process of the sandbox: see [`service`].
const RPC: &str = "rpc";
const RPC_SERVICE: &str = "rpc-service";
/// The same, for a client of SSH.
const SFTP: &str = "sftp";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--version") {
        println!("{}", agent::VERSION);
        return ExitCode::SUCCESS;
    }
    match std::env::args().nth(1).as_deref() {
        Some(RPC) => {
            return ended(
                RPC,
                service::relay(
                    Path::new(RUN),
                    Command::new("/proc/self/exe").arg(RPC_SERVICE),
                ),
            );
        }
        Some(RPC_SERVICE) => return ended(RPC, service::serve(Path::new(RUN))),
        Some(SFTP) => return ended(SFTP, sandbox_sftp::serve()),
        _ => {}
    }
    if std::process::id() != 1 {
        eprintln!("guest-agent is PID 1 of a Thaw guest and does nothing elsewhere");
        return ExitCode::FAILURE;
    }
    match init::boot() {
        Ok(init::Role::Init { agent }) => init::reap(agent),
        Ok(init::Role::Agent) => agent::run(),
        Err(error) => init::give_up(&error),
    }
}

fn ended(role: &str, done: std::io::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{role}: {error}");
            ExitCode::FAILURE
        }
    }
}
