//! What can go wrong, said once, with what to do next.

use std::error::Error as _;
use std::fmt::Write;
use std::io;

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::exit;
use crate::output::printable;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The asynchronous runtime would not start.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
    #[error("{0:?} is no endpoint")]
    BadEndpoint(String),
    #[error("cannot reach hostd at {endpoint}")]
    Unreachable {
        endpoint: String,
        source: tonic::transport::Error,
    },
    #[error("the access token has characters that no header can carry")]
    BadToken,
    /// A file, terminal or stream on this side.
    #[error("{what}")]
    Local { what: String, source: io::Error },
    /// What the command line asks for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// hostd's answer, from a call that was about `subject`.
    #[error("{}", about(subject, status.message()))]
    Refused {
        subject: String,
        status: Box<Status>,
    },
    /// A program that could not be started; the exit status says why, like a shell's.
    #[error("{message}")]
    NotStarted { message: String, exit_status: u8 },
    /// hostd ended a stream without saying how it went.
    #[error("{0}: hostd's answer broke off")]
    BrokeOff(String),
    /// Some of several things failed and were told already.
    #[error("already told")]
    AlreadyTold,
    /// Nobody reads our standard output any more.
    #[error("standard output is closed")]
    ClosedOutput,
}

/// SIGPIPE's number on Linux.
const SIGPIPE: i32 = 13;

impl Error {
    /// An answer of hostd's about `subject`.
    pub fn refused(subject: impl Into<String>) -> impl FnOnce(Status) -> Self {
        let subject = subject.into();
        move |status| Self::Refused {
            subject,
            status: Box::new(status),
        }
    }

    /// A failure to write standard output; a closed pipe is no error to be told.
    pub fn stdout(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::BrokenPipe => Self::ClosedOutput,
            _ => Self::Local {
                what: "cannot write standard output".to_owned(),
                source,
            },
        }
    }

    /// Whether there is nothing left to print.
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::ClosedOutput | Self::AlreadyTold)
    }

    /// The exit status of a command that ended with this.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::NotStarted { exit_status, .. } => *exit_status,
            Self::ClosedOutput => exit::of_signal(SIGPIPE),
            _ => exit::THAW_ERROR,
        }
    }

    /// All that is printed: the message, its causes, and what to do next.
    pub fn report(&self) -> String {
        // Some of the words are a guest's.
        let mut text = format!("thaw: {}", printable(&self.to_string()));
        let mut source = self.source();
        while let Some(cause) = source {
            let message = printable(&cause.to_string());
            // Some causes only repeat what is below them, and tonic's has nothing to say.
            if !text.contains(&message) && !cause.is::<tonic::transport::Error>() {
                // Writing to a String cannot fail.
                let _ = write!(text, ": {message}");
            }
            source = cause.source();
        }
        text.push('\n');
        if let Some(hint) = self.hint() {
            let _ = writeln!(text, "  {hint}");
        }
        text
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::BadEndpoint(_) => {
                Some("Write unix:/run/thaw/hostd.sock or http://127.0.0.1:7070.".to_owned())
            }
            Self::Unreachable { .. } => Some(
                "Is it running? Start it with `hostd`, or with `cargo xtask up` in a checkout; \
                 say where it listens with --endpoint or THAW_ENDPOINT."
                    .to_owned(),
            ),
            Self::Refused { status, .. } => hint_for(status).map(str::to_owned),
            _ => None,
        }
    }
}

/// Says what a message is about, unless it does so itself.
fn about(subject: &str, message: &str) -> String {
    match message.contains(subject) {
        true => message.to_owned(),
        false => format!("{subject}: {message}"),
    }
}

/// What to do about an answer of hostd's: by its reason, else by its code.
fn hint_for(status: &Status) -> Option<&'static str> {
    let info = status.get_details_error_info();
    // A guest's own refusals (no such file, not yours) are their own explanation.
    if info.as_ref().is_some_and(|info| info.domain == "posix") {
        return None;
    }
    let by_reason = match info.as_ref().map(|info| info.reason.as_str()) {
        Some("SANDBOX_NOT_FOUND") => "`thaw ps --all` lists the sandboxes.",
        Some("SANDBOX_NOT_RUNNING") => {
            "`thaw inspect SANDBOX` shows its state; `thaw resume SANDBOX` wakes a paused one."
        }
        Some("SNAPSHOT_NOT_FOUND") => {
            "`thaw snapshot ls` lists the snapshots; `images snapshot` makes the default one."
        }
        Some("SNAPSHOT_DAMAGED") => {
            "Take the snapshot again, or restore its directory from a copy."
        }
        Some("SNAPSHOT_INCOMPATIBLE") => {
            "Take the snapshot again on a host whose CPU has what this one has."
        }
        Some("BOOT_TIMEOUT") => "A larger --boot-timeout may help; `thaw doctor` checks the host.",
        Some("CAPACITY") => "End some sandboxes: `thaw ps`, then `thaw kill SANDBOX`.",
        _ => "",
    };
    if !by_reason.is_empty() {
        return Some(by_reason);
    }
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => {
            Some("Give the token of this hostd: --token-file FILE, or THAW_TOKEN.")
        }
        Code::Unimplemented => Some("hostd and thaw are of different versions."),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn the_reason_gives_the_hint() {
        let details = ErrorDetails::with_error_info("SANDBOX_NOT_FOUND", "thaw", []);
        let status = Status::with_error_details(Code::NotFound, "no such sandbox", details);
        let report = Error::refused("sbx_1")(status).report();
        assert_eq!(
            report,
            "thaw: sbx_1: no such sandbox\n  `thaw ps --all` lists the sandboxes.\n"
        );
    }

    #[test]
    fn causes_are_told_once() {
        let error = Error::Local {
            what: "cannot read x".to_owned(),
            source: io::Error::from_raw_os_error(2),
        };
        assert_eq!(
            error.report(),
            "thaw: cannot read x: No such file or directory (os error 2)\n"
        );
    }

    #[test]
    fn a_guest_s_words_do_not_steer_the_terminal() {
        let report = Error::refused("sbx_1")(Status::not_found("\x1b[2Jgone\nthaw: fine")).report();
        assert_eq!(report, "thaw: sbx_1: \\u{1b}[2Jgone\\nthaw: fine\n");
    }

    #[test]
    fn a_closed_pipe_is_quiet() {
        let error = Error::stdout(io::ErrorKind::BrokenPipe.into());
        assert!(error.is_silent());
        assert_eq!(error.exit_status(), 141);
    }
}
