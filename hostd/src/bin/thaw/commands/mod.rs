//! The commands, one file each.

mod cp;
mod create;
mod doctor;
mod exec;
mod inspect;
mod kill;
mod network;
pub mod options;
mod pause;
mod processor;
mod ps;
mod run;
mod seal;
mod secret;
mod snapshot;
mod token;

use clap::Subcommand;

use crate::args::Args;
use crate::client::Hostd;
use crate::error::Error;
use crate::exit;

/// What `thaw` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a program in a sandbox of its own, which ends with it
    Run(run::Run),
    /// Start a sandbox and leave it running; prints its id
    Create(create::Create),
    /// Run a program in a running sandbox
    Exec(exec::Exec),
    /// List sandboxes, or the processes of one
    Ps(ps::Ps),
    /// Copy files and directories between here and a sandbox
    Cp(cp::Cp),
    /// Show all that is known of a sandbox, as JSON
    Inspect(inspect::Inspect),
    /// Show what the console of a failed sandbox said last
    Logs(inspect::Logs),
    /// End sandboxes
    Kill(kill::Kill),
    /// Make sandboxes stand still
    Pause(pause::Pause),
    /// Let paused sandboxes go on
    Resume(pause::Resume),
    /// Make, list and remove snapshots
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    /// Make, list and revoke the tokens that others call with
    #[command(subcommand)]
    Token(token::Token),
    /// Seal a secret for one host; prints what --sealed-secret takes
    Seal(seal::Seal),
    /// Check all that the host needs
    Doctor(doctor::Doctor),
}

/// Runs the command and gives its exit status.
pub async fn dispatch(args: Args) -> Result<u8, Error> {
    // Doctor has something to say without a hostd, too.
    if let Command::Doctor(_) = args.command {
        return doctor::run(Hostd::connect(&args).await, args.json).await;
    }
    if let Command::Seal(seal) = &args.command
        && seal.has_key()
    {
        return seal::offline(seal).map(|()| 0);
    }
    let hostd = Hostd::connect(&args).await?;
    let json = args.json;
    match args.command {
        Command::Run(command) => return run::run(&hostd, command).await,
        Command::Exec(command) => return exec::run(&hostd, command).await,
        Command::Create(command) => create::run(&hostd, command, json).await,
        Command::Ps(command) => ps::run(&hostd, command, json).await,
        Command::Cp(command) => cp::run(&hostd, command).await,
        Command::Inspect(command) => inspect::inspect(&hostd, command).await,
        Command::Logs(command) => inspect::logs(&hostd, command).await,
        Command::Kill(command) => kill::run(&hostd, command).await,
        Command::Pause(command) => pause::pause(&hostd, command).await,
        Command::Resume(command) => pause::resume(&hostd, command).await,
        Command::Snapshot(command) => snapshot::run(&hostd, command, json).await,
        Command::Token(command) => token::run(&hostd, command, json).await,
        Command::Seal(command) => seal::run(&hostd, &command).await,
        Command::Doctor(_) => return Ok(exit::THAW_ERROR),
    }
    .map(|()| 0)
}
