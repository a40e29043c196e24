//! Exit statuses, as shells and `docker run` count them.

use std::io::Write;
use std::process::ExitCode;

use protocol::types::v1::ExitStatus;
use protocol::types::v1::exit_status::Status;

use crate::error::Error;

/// The program's time was up, as `timeout(1)` has it.
pub const TIMED_OUT: u8 = 124;
/// Thaw failed, not the program.
pub const THAW_ERROR: u8 = 125;
/// The program was found and cannot be run.
pub const NOT_EXECUTABLE: u8 = 126;
/// The program was not found.
pub const NOT_FOUND: u8 = 127;

/// What the program's end means for the caller's shell.
pub fn of_program(status: &ExitStatus) -> u8 {
    match status.status {
        _ if status.timed_out => TIMED_OUT,
        // exit(2) keeps the low eight bits.
        Some(Status::Code(code)) => (code & 0xff) as u8,
        Some(Status::Signal(signal)) => of_signal(signal),
        None => THAW_ERROR,
    }
}

/// The status that a shell gives to a program which a signal killed.
pub fn of_signal(signal: i32) -> u8 {
    128 | (signal & 0x7f) as u8
}

/// Prints an error, once and with its causes, and gives the status of the whole command.
pub fn from(result: Result<u8, Error>) -> ExitCode {
    let error = match result {
        Ok(status) => return ExitCode::from(status),
        Err(error) => error,
    };
    if !error.is_silent() {
        // With standard error closed there is nobody left to tell.
        let _ = write!(std::io::stderr(), "{}", error.report());
    }
    ExitCode::from(error.exit_status())
}

/// Usage errors count as Thaw's own; help and version do not count as errors.
pub fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    match error.use_stderr() {
        true => ExitCode::from(THAW_ERROR),
        false => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: Status, timed_out: bool) -> ExitStatus {
        ExitStatus {
            status: Some(status),
            timed_out,
        }
    }

    #[test]
    fn table() {
        for (status, expected) in [
            (ended(Status::Code(0), false), 0),
            (ended(Status::Code(1), false), 1),
            (ended(Status::Code(255), false), 255),
            (ended(Status::Code(-1), false), 255),
            (ended(Status::Signal(9), false), 137),
            (ended(Status::Signal(15), false), 143),
            (ended(Status::Signal(9), true), TIMED_OUT),
            (ExitStatus::default(), THAW_ERROR),
        ] {
            assert_eq!(of_program(&status), expected, "{status:?}");
        }
    }
}
