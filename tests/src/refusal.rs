//! What a refused call said.

use std::fmt::Debug;

use anyhow::{bail, ensure};
use tonic::{Code, Status};
use tonic_types::{ErrorInfo, StatusExt};

/// Checks that a call was refused with this code and `google.rpc.ErrorInfo` reason; gives the info.
pub fn expect<T: Debug>(
    result: Result<T, Status>,
    code: Code,
    reason: &str,
) -> crate::Result<ErrorInfo> {
    let status = code_of(result, code)?;
    let Some(info) = status.get_details_error_info() else {
        bail!("no ErrorInfo in {status:?}");
    };
    ensure!(
        info.reason == reason,
        "reason {} instead of {reason}: {status:?}",
        info.reason
    );
    Ok(info)
}

/// Checks that a call was refused with this code; gives the status.
pub fn code_of<T: Debug>(result: Result<T, Status>, code: Code) -> crate::Result<Status> {
    match result {
        Ok(answer) => bail!("{code:?} expected, got {answer:?}"),
        Err(status) => {
            ensure!(status.code() == code, "{code:?} expected, got {status:?}");
            Ok(status)
        }
    }
}

/// Checks that a request was refused for this field.
pub fn bad_field<T: Debug>(result: Result<T, Status>, field: &str) -> crate::Result {
    let status = code_of(result, Code::InvalidArgument)?;
    let violations = status
        .get_details_bad_request()
        .map(|request| request.field_violations);
    let named = violations
        .iter()
        .flatten()
        .any(|violation| violation.field == field);
    ensure!(named, "{field} expected among {violations:?}: {status:?}");
    Ok(())
}

/// Checks that a file operation failed with this errno's name.
pub fn errno<T: Debug>(result: Result<T, Status>, name: &str) -> crate::Result {
    let status = match result {
        Ok(answer) => bail!("{name} expected, got {answer:?}"),
        Err(status) => status,
    };
    let info = status
        .get_details_error_info()
        .unwrap_or_else(|| ErrorInfo::new("", "", []));
    ensure!(
        info.domain == "posix" && info.reason == name,
        "{name} expected, got {status:?}"
    );
    Ok(())
}
