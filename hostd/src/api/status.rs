//! The daemon's errors as gRPC statuses: the one place where codes, reasons and details are chosen.

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::error::{Error, chain};
use crate::sandbox::record::FailureReason;

/// Of every ErrorInfo that hostd makes.
const DOMAIN: &str = "thaw";
/// Statuses travel in headers, which clients cap, some at 8 KiB: longer messages are cut.
const MAX_MESSAGE_BYTES: usize = 2048;
/// Of an agent's details, which travel there too, a third longer as base 64.
const MAX_DETAILS_BYTES: usize = 4096;

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        // Said by the agent in the agent's words: its details pass.
        if let Error::Agent(status) = error {
            return from_agent(*status);
        }
        let (code, reason, metadata) = classify(&error);
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
        match &error {
            Error::Invalid { field, problem } => {
                details.add_bad_request_violation(*field, problem.as_str());
            }
            Error::Capacity { limit } => {
                details.add_quota_failure_violation(
                    "sandboxes",
                    format!("at most {limit} on this host"),
                );
            }
            Error::Quota { limit } => {
                details.add_quota_failure_violation("token", limit.as_str());
            }
            _ => {}
        }
        if matches!(code, Code::Internal | Code::DataLoss) {
            tracing::warn!(error = %chain(&error), "a request failed");
        }
        Status::with_error_details(code, cut(error.to_string()), details)
    }
}

type Metadata = HashMap<String, String>;

fn classify(error: &Error) -> (Code, &'static str, Metadata) {
    let plain = |code, reason| (code, reason, Metadata::new());
    let with = |code, reason, key: &str, value: String| {
        (code, reason, Metadata::from([(key.to_owned(), value)]))
    };
    match error {
        Error::Invalid { field, .. } => with(
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "field",
            (*field).to_owned(),
        ),
        Error::SandboxNotFound(_) => plain(Code::NotFound, "SANDBOX_NOT_FOUND"),
        Error::SnapshotNotFound(_) => plain(Code::NotFound, "SNAPSHOT_NOT_FOUND"),
        Error::ImageNotFound(_) => plain(Code::NotFound, "IMAGE_NOT_FOUND"),
        Error::SnapshotNameTaken(_) => plain(Code::AlreadyExists, "SNAPSHOT_NAME_TAKEN"),
        Error::SnapshotReadOnly(_) => plain(Code::FailedPrecondition, "SNAPSHOT_READ_ONLY"),
        Error::SnapshotDamaged { part, .. } => with(
            Code::DataLoss,
            "SNAPSHOT_DAMAGED",
            "part",
            (*part).to_owned(),
        ),
        Error::SnapshotIncompatible { missing, .. } => with(
            Code::FailedPrecondition,
            "SNAPSHOT_INCOMPATIBLE",
            "missing",
            missing.join(", "),
        ),
        Error::ImageUnusable { .. } => plain(Code::FailedPrecondition, "IMAGE_UNUSABLE"),
        Error::NotRunning { phase, .. } => with(
            Code::FailedPrecondition,
            "SANDBOX_NOT_RUNNING",
            "state",
            phase.state().name().to_owned(),
        ),
        Error::StandsStill { .. } => plain(Code::Unavailable, "SANDBOX_STANDS_STILL"),
        Error::Ended { phase, .. } => with(
            Code::Unavailable,
            "SANDBOX_ENDED",
            "end_reason",
            phase.end_reason().to_owned(),
        ),
        Error::CreateFailed { failure, .. } => create_failed(failure.reason),
        Error::BootTimeout(_) => plain(Code::DeadlineExceeded, "BOOT_TIMEOUT"),
        Error::Agent(_) | Error::AgentProtocol(_) => plain(Code::Internal, "AGENT_PROTOCOL"),
        Error::AgentTimeout { call, .. } => with(
            Code::DeadlineExceeded,
            "AGENT_TIMEOUT",
            "call",
            (*call).to_owned(),
        ),
        Error::NoFirstMessage(_) => plain(Code::DeadlineExceeded, "FIRST_MESSAGE_TIMEOUT"),
        Error::BrokenOff => plain(Code::Aborted, "CLIENT_BROKE_OFF"),
        Error::Unauthenticated => plain(Code::Unauthenticated, "UNAUTHENTICATED"),
        Error::Forbidden { .. } => plain(Code::PermissionDenied, "FORBIDDEN"),
        Error::Quota { .. } => plain(Code::ResourceExhausted, "QUOTA_EXCEEDED"),
        Error::TokenNotFound(_) => plain(Code::NotFound, "TOKEN_NOT_FOUND"),
        Error::SecretNotFound(_) => plain(Code::NotFound, "SECRET_NOT_FOUND"),
        Error::SecretsNotKept(_) => plain(Code::FailedPrecondition, "SECRETS_NOT_KEPT"),
        Error::SealedForAnotherHost { .. } => {
            plain(Code::FailedPrecondition, "SEALED_FOR_ANOTHER_HOST")
        }
        Error::NetworkUnavailable => plain(Code::FailedPrecondition, "NETWORK_UNAVAILABLE"),
        Error::Memory { needed, .. } => with(
            Code::ResourceExhausted,
            "MEMORY",
            "needed_bytes",
            needed.to_string(),
        ),
        Error::Capacity { .. } => plain(Code::ResourceExhausted, "CAPACITY"),
        Error::TooManyCalls { .. } => plain(Code::ResourceExhausted, "TOO_MANY_CALLS"),
        Error::WatchLagged(_) => plain(Code::Aborted, "WATCH_LAGGED"),
        Error::ShuttingDown => plain(Code::Unavailable, "SHUTTING_DOWN"),
        Error::Host { .. } => plain(Code::Internal, "HOST_ERROR"),
    }
}

fn create_failed(reason: FailureReason) -> (Code, &'static str, Metadata) {
    let (code, name) = match reason {
        FailureReason::BootTimeout => (Code::DeadlineExceeded, "BOOT_TIMEOUT"),
        FailureReason::AgentProtocol => (Code::Internal, "AGENT_PROTOCOL"),
        FailureReason::VmmDied => (Code::Internal, "VMM_DIED"),
        FailureReason::GuestReset => (Code::Aborted, "GUEST_RESET"),
        FailureReason::BadSource => (Code::FailedPrecondition, "BAD_SOURCE"),
        FailureReason::HostRestarted => (Code::Unavailable, "HOST_RESTARTED"),
        FailureReason::HostError => (Code::Internal, "HOST_ERROR"),
    };
    (code, name, Metadata::new())
}

/// The agent's code, message and details, but none of its headers. Details that a client's own limit could make it refuse
/// the whole answer for are left out, and a reason that is missing then, or from the start, is given.
fn from_agent(status: Status) -> Status {
    let message = cut(status.message().to_owned());
    let details = status.details();
    if details.len() <= MAX_DETAILS_BYTES && has_reason(&status) {
        return Status::with_details(status.code(), message, details.to_vec().into());
    }
    let details = ErrorDetails::with_error_info("AGENT_REFUSED", DOMAIN, Metadata::new());
    Status::with_error_details(status.code(), message, details)
}

/// What went wrong with a client's own stream: said by us already, or by the library that decodes it.
pub fn from_client(status: Status) -> Status {
    match has_reason(&status) {
        true => status,
        false => Error::invalid("stream", status.message()).into(),
    }
}

fn has_reason(status: &Status) -> bool {
    status.get_details_error_info().is_some()
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_MESSAGE_BYTES {
        let end = (0..=MAX_MESSAGE_BYTES)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_say_what_a_program_can_act_upon() {
        let status = Status::from(Error::Capacity { limit: 3 });
        assert_eq!(status.code(), Code::ResourceExhausted);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "CAPACITY");
        assert!(
            details.quota_failure().unwrap().violations[0]
                .description
                .contains('3')
        );

        let status = Status::from(Error::invalid("vcpus", "x".repeat(10_000)));
        assert!(status.message().len() <= MAX_MESSAGE_BYTES);
        assert_eq!(
            status
                .get_error_details()
                .bad_request()
                .unwrap()
                .field_violations[0]
                .field,
            "vcpus"
        );
    }

    #[test]
    fn an_agents_details_pass() {
        let details = ErrorDetails::with_error_info("ENOENT", "posix", Metadata::new());
        let agent = Status::with_error_details(Code::NotFound, "no such file", details);
        let status = Status::from(Error::Agent(Box::new(agent)));
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(
            status.get_error_details().error_info().unwrap().reason,
            "ENOENT"
        );
    }

    #[test]
    fn an_agents_endless_details_do_not() {
        let details = vec![0; MAX_DETAILS_BYTES + 1].into();
        let agent = Status::with_details(Code::NotFound, "no such file", details);
        let status = Status::from(Error::Agent(Box::new(agent)));
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.details().len() < MAX_DETAILS_BYTES);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.reason, "AGENT_REFUSED");
    }

    #[test]
    fn what_is_wrong_with_a_stream_has_a_reason() {
        let undecodable = from_client(Status::internal("invalid wire type"));
        assert_eq!(undecodable.code(), Code::InvalidArgument);
        let told = from_client(Error::BrokenOff.into());
        let info = told.get_details_error_info().unwrap();
        assert_eq!(info.reason, "CLIENT_BROKE_OFF");
    }
}
