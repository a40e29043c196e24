//! Runs the programs that do the work, and says what they said when they fail.

use std::{
    ffi::OsStr,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use thiserror::Error;

/// At most this much of a failed program's output is shown.
const SHOWN: usize = 4096;

/// A program that could not be run or did not succeed.
#[derive(Debug, Error)]
pub enum Error {
    /// It could not be started.
    #[error("cannot start {program} (is its package installed?)")]
    Start {
        /// The program's name.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended with another status than 0.
    #[error("{program} failed ({status}):\n{output}")]
    Failed {
        /// The program's name.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The end of what it printed.
        output: String,
    },
}

/// Runs `command` to its end with nothing on its standard input, and returns what it printed.
///
/// # Errors
/// [`Error`] when it cannot be started or fails.
pub fn run(command: &mut Command) -> Result<Output, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Error::Start {
            program: program.clone(),
            source,
        })?;
    if output.status.success() {
        return Ok(output);
    }
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stdout));
    let mut start = text.len().saturating_sub(SHOWN);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let output_tail = text.split_off(start);
    Err(Error::Failed {
        program,
        status: output.status,
        output: output_tail,
    })
}

/// A command for `program`, looked up in `PATH` and then where administrators' programs are.
pub fn command(program: &str) -> Command {
    Command::new(find(program).unwrap_or_else(|| PathBuf::from(program)))
}

/// Where `program` is, if anywhere: `PATH`, then `/usr/sbin` and `/sbin`, which an ordinary
/// user's `PATH` lacks in Debian.
pub fn find(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory: PathBuf| directory.join(program.as_ref()))
        .find(|candidate| candidate.is_file())
}
