//! `/init` of a Thaw guest.

use std::process::ExitCode;

use guest_agent::{agent, init};

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--version") {
        println!("{}", agent::VERSION);
        return ExitCode::SUCCESS;
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
