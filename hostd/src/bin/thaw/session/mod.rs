//! One program of a sandbox, connected to this process's streams.
//!
//! ```text
//!   stdin ──input──▶ ┌──────────────┐ ──output──▶ stdout, stderr
//!   SIGWINCH ──────▶ │ Exec stream  │
//!   SIGINT ──Signal──▶ (a call of its own: it must not wait behind stdin)
//!                    └──────────────┘ ──exited──▶ exit status
//! ```
//!
//! Nothing is buffered beyond a few chunks: a program whose output nobody reads blocks, and
//! so does a writer whose input the program does not read. When this process ends in any
//! way, the stream breaks and the program is killed with it.

mod input;
mod output;
pub mod signals;
pub mod terminal;

use protocol::hostd::v1::ExecRequest;
use protocol::types::v1::ProcessInput;
use protocol::types::v1::process_input::Input;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic_types::StatusExt;

use crate::client::Hostd;
use crate::commands::options::Program;
use crate::error::Error;
use crate::exit;
use signals::Signals;

/// Messages on their way to the program, each of them at most one chunk.
const INPUT_QUEUE: usize = 2;

/// Runs a program to its end and gives its exit status.
pub async fn run(
    hostd: &Hostd,
    sandbox: &str,
    program: Program,
    signals: &mut Signals,
) -> Result<u8, Error> {
    let (sender, receiver) = mpsc::channel(INPUT_QUEUE);
    let (pid_sender, pid) = watch::channel(None);
    let reads_stdin = program.spec.stdin;
    let start = ExecRequest {
        sandbox_id: sandbox.to_owned(),
        input: Some(ProcessInput {
            input: Some(Input::Start(program.spec)),
        }),
    };
    // The queue is empty, so this does not wait.
    let _ = sender.send(start).await;
    let not_started = |status| start_failure(sandbox, status);

    let mut processes = hostd.processes();
    let exchange = async {
        let stream = processes.exec(ReceiverStream::new(receiver)).await;
        let mut stream = stream.map_err(&not_started)?.into_inner();
        let started = output::started(&mut stream).await;
        pid_sender.send_replace(Some(started.map_err(&not_started)?));
        // Raw mode begins when there is somebody to read what is typed.
        let _raw = program.tty.then(terminal::Raw::enter).transpose()?;
        let _input = reads_stdin.then(|| input::forward(sender.clone()));
        let _resizes = program.tty.then(|| terminal::forward_size(sender.clone()));
        output::copy(&mut stream, sandbox).await
    };
    tokio::select! {
        status = exchange => Ok(exit::of_program(&status?)),
        signal = signals.forward(hostd, sandbox, pid, program.tty) => Ok(exit::of_signal(signal)),
    }
}

/// A program that cannot be started has the exit status that a shell would give.
fn start_failure(sandbox: &str, status: Status) -> Error {
    let posix = status
        .get_details_error_info()
        .filter(|info| info.domain == "posix");
    let Some(info) = posix else {
        return Error::refused(sandbox)(status);
    };
    // A directory or user that is not there is no program that was not found.
    let executes = info
        .metadata
        .get("operation")
        .is_some_and(|call| call == "execve");
    let exit_status = match info.reason.as_str() {
        "ENOENT" if executes => exit::NOT_FOUND,
        _ => exit::NOT_EXECUTABLE,
    };
    Error::NotStarted {
        message: status.message().to_owned(),
        exit_status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;
    use tonic_types::ErrorDetails;

    fn posix(operation: &str, errno: &str) -> u8 {
        let metadata = [("operation".to_owned(), operation.to_owned())];
        let details = ErrorDetails::with_error_info(errno, "posix", metadata);
        let status = Status::with_error_details(Code::NotFound, "no", details);
        start_failure("sbx", status).exit_status()
    }

    #[test]
    fn a_shell_s_statuses() {
        assert_eq!(posix("execve", "ENOENT"), 127);
        assert_eq!(posix("execve", "EACCES"), 126);
        assert_eq!(posix("chdir", "ENOENT"), 126);
        let unknown = Status::not_found("no such sandbox");
        assert_eq!(start_failure("sbx", unknown).exit_status(), 125);
    }
}
