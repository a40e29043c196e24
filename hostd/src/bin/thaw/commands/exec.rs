//! `thaw exec`: a program in a sandbox that runs already.

use clap::Args;

use super::options::ProgramOptions;
use crate::args::pair;
use crate::client::Hostd;
use crate::error::Error;
use crate::session::{self, signals::Signals};

#[derive(Debug, Args)]
pub struct Exec {
    #[command(flatten)]
    program: ProgramOptions,
    /// Variable for the program; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// The sandbox
    sandbox: String,
    /// The program and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        default_value = "bash"
    )]
    program_and_args: Vec<String>,
}

/// Runs the program and gives its exit status.
pub async fn run(hostd: &Hostd, exec: Exec) -> Result<u8, Error> {
    let mut signals = Signals::new()?;
    let program = exec.program.program(&exec.program_and_args, &exec.env);
    session::run(hostd, &exec.sandbox, program, &mut signals).await
}
