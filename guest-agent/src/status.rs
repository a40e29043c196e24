//! How errors look on the wire: gRPC statuses with `google.rpc` details.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// `google.rpc.ErrorInfo.domain` of a failed system call; the reason is the errno's name.
pub const POSIX_DOMAIN: &str = "posix";
/// `google.rpc.ErrorInfo.domain` of everything else.
pub const THAW_DOMAIN: &str = "thaw";

/// Characters of a path in a status, which travels in HTTP/2 headers: many clients limit their total
/// to 8 or 16 KiB.
const MAX_PATH_IN_STATUS: usize = 256;

/// A system call that failed, and on what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} {}: {}", path.display(), errno.desc())]
pub struct PosixError {
    /// The call, for example `open`.
    pub operation: &'static str,
    /// What it was called on.
    pub path: PathBuf,
    /// Why it failed.
    pub errno: Errno,
}

impl PosixError {
    /// Names the operation and path of an errno.
    pub fn new(operation: &'static str, path: impl Into<PathBuf>, errno: Errno) -> Self {
        Self {
            operation,
            path: path.into(),
            errno,
        }
    }

    /// For `map_err` on what `std::io` answers.
    pub fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::new(operation, path, errno_of(&error))
    }

    /// For `map_err` on what `nix` answers.
    pub fn sys(operation: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::new(operation, path, errno)
    }
}

/// The errno behind an error of `std::io`; EIO for those that it made up itself.
pub fn errno_of(error: &io::Error) -> Errno {
    match error.raw_os_error() {
        Some(raw) => Errno::from_raw(raw),
        None if error.kind() == io::ErrorKind::InvalidInput => Errno::EINVAL,
        None => Errno::EIO,
    }
}

impl From<PosixError> for Status {
    fn from(error: PosixError) -> Self {
        let path = clip(&error.path);
        let message = format!("{} {path}: {}", error.operation, error.errno.desc());
        let metadata = HashMap::from([
            ("errno".to_owned(), (error.errno as i32).to_string()),
            ("path".to_owned(), path),
            ("operation".to_owned(), error.operation.to_owned()),
        ]);
        let reason = format!("{:?}", error.errno);
        let details = ErrorDetails::with_error_info(reason, POSIX_DOMAIN, metadata);
        Self::with_error_details(code_of(error.errno), message, details)
    }
}

fn code_of(errno: Errno) -> Code {
    match errno {
        Errno::ENOENT | Errno::ESRCH => Code::NotFound,
        Errno::EEXIST => Code::AlreadyExists,
        Errno::EACCES | Errno::EPERM | Errno::EROFS => Code::PermissionDenied,
        Errno::EINVAL | Errno::ENAMETOOLONG | Errno::E2BIG | Errno::ENOEXEC => {
            Code::InvalidArgument
        }
        Errno::EISDIR
        | Errno::ENOTDIR
        | Errno::ENOTEMPTY
        | Errno::EBUSY
        | Errno::ELOOP
        | Errno::ETXTBSY
        | Errno::EXDEV
        | Errno::EMLINK
        | Errno::EOPNOTSUPP => Code::FailedPrecondition,
        Errno::ENOSPC
        | Errno::EDQUOT
        | Errno::EMFILE
        | Errno::ENFILE
        | Errno::ENOMEM
        | Errno::EAGAIN => Code::ResourceExhausted,
        Errno::EFBIG | Errno::EOVERFLOW => Code::OutOfRange,
        _ => Code::Internal,
    }
}

fn clip(path: &Path) -> String {
    path.to_string_lossy()
        .chars()
        .take(MAX_PATH_IN_STATUS)
        .collect()
}

/// A request that can never work: INVALID_ARGUMENT, naming the field.
pub fn invalid(field: &str, problem: impl Into<String>) -> Status {
    let problem = problem.into();
    let message = format!("{field}: {problem}");
    let details = ErrorDetails::with_bad_request_violation(field, problem);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// Any other refusal, with a reason for programs and a message for people.
pub fn refused(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, THAW_DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// A background task of the agent ended without an answer. Never seen unless the agent has a bug.
pub fn task_lost() -> Status {
    refused(
        Code::Internal,
        "TASK_LOST",
        "the agent lost the task that worked on this request",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_posix_error_carries_name_number_path_and_operation() {
        let status = Status::from(PosixError::new("open", "/x", Errno::ENOENT));
        assert_eq!(status.code(), Code::NotFound);
        let info = status.get_details_error_info().unwrap();
        assert_eq!(
            (info.reason.as_str(), info.domain.as_str()),
            ("ENOENT", POSIX_DOMAIN)
        );
        assert_eq!(info.metadata.get("errno").map(String::as_str), Some("2"));
        assert_eq!(info.metadata.get("path").map(String::as_str), Some("/x"));
        assert_eq!(
            info.metadata.get("operation").map(String::as_str),
            Some("open")
        );
    }

    #[test]
    fn a_long_path_is_cut_at_a_character() {
        let path = format!("/{}", "é".repeat(4000));
        assert!(clip(Path::new(&path)).chars().count() <= MAX_PATH_IN_STATUS);
    }
}
