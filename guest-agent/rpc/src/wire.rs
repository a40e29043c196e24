//! Messages: JSON-RPC 2.0, with results and errors in the form that the SDKs decode.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// What a client sends: a request if it has an id, a notification otherwise.
#[derive(Debug, Deserialize)]
pub struct Incoming<'a> {
    /// `2.0`.
    pub jsonrpc: String,
    /// A number or a text.
    pub id: Option<Value>,
    /// Which procedure.
    pub method: String,
    /// Its parameters.
    #[serde(borrow, default)]
    pub params: Option<&'a RawValue>,
}

/// Why a request was not carried out.
#[derive(Debug)]
pub enum Failure {
    /// There is no such procedure.
    UnknownMethod,
    /// Parameters that are not the procedure's.
    Params(serde_json::Error),
    /// What was asked for did not work.
    Failed(Error),
}

/// An error of the procedure itself: the SDKs make one of their own of it, by the name of its constructor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Error {
    /// The name of a class of errors of JavaScript's or of Deno's.
    pub constructor_name: &'static str,
    /// In words.
    pub message: String,
    /// The system's name of it, such as `ENOENT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Which `DOMException` it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'static str>,
}

/// What a procedure gives.
pub type Answer = Result<Value, Failure>;

impl Error {
    /// Something that makes no sense, in words.
    pub fn type_error(message: impl Into<String>) -> Self {
        Self::new("TypeError", message)
    }

    /// Of this class.
    pub fn new(constructor_name: &'static str, message: impl Into<String>) -> Self {
        Self {
            constructor_name,
            message: message.into(),
            code: None,
            name: None,
        }
    }

    /// With the system's name.
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// What an aborted request ends with.
    pub fn aborted() -> Self {
        Self {
            name: Some("AbortError"),
            ..Self::new("DOMException", "The signal has been aborted")
        }
    }

    /// What the system said about doing something.
    pub fn io(error: &io::Error, doing: &str) -> Self {
        let errno = error.raw_os_error().map(Errno::from_raw);
        let text = match errno {
            Some(errno) => format!("{} (os error {})", errno.desc(), errno as i32),
            None => error.to_string(),
        };
        Self {
            code: errno.map(|errno| format!("{errno:?}")),
            ..Self::new(class(error), format!("{text}: {doing}"))
        }
    }

    /// What the system said about doing something with a path.
    pub fn path(error: &io::Error, doing: &str, path: &Path) -> Self {
        Self::io(error, &format!("{doing} '{}'", path.display()))
    }
}

/// Which of Deno's classes an error is of.
fn class(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "NotFound",
        io::ErrorKind::PermissionDenied => "PermissionDenied",
        io::ErrorKind::AlreadyExists => "AlreadyExists",
        io::ErrorKind::IsADirectory => "IsADirectory",
        io::ErrorKind::NotADirectory => "NotADirectory",
        io::ErrorKind::BrokenPipe => "BrokenPipe",
        io::ErrorKind::InvalidData => "InvalidData",
        io::ErrorKind::TimedOut => "TimedOut",
        io::ErrorKind::Interrupted => "Interrupted",
        io::ErrorKind::WriteZero => "WriteZero",
        io::ErrorKind::WouldBlock => "WouldBlock",
        io::ErrorKind::UnexpectedEof => "UnexpectedEof",
        io::ErrorKind::ResourceBusy | io::ErrorKind::ExecutableFileBusy => "Busy",
        io::ErrorKind::Unsupported => "NotSupported",
        io::ErrorKind::InvalidInput => "TypeError",
        _ if error.raw_os_error() == Some(Errno::ELOOP as i32) => "FilesystemLoop",
        _ => "Error",
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The answer to the request with this id.
pub fn answer(id: &Value, answer: Answer) -> Value {
    let error = |code: i32, message: &str, data: Value| json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message, "data": data}});
    match answer {
        Ok(ok) => json!({"jsonrpc": "2.0", "id": id, "result": {"ok": ok}}),
        Err(Failure::Failed(failed)) => {
            json!({"jsonrpc": "2.0", "id": id, "result": {"error": failed}})
        }
        Err(Failure::UnknownMethod) => error(-32601, "Method not found", Value::Null),
        Err(Failure::Params(problem)) => {
            // As zod says it, which is what the SDKs were made for: a list in a text.
            let issues = json!([{"code": "custom", "path": [], "message": problem.to_string()}]);
            let data = json!({"constructorName": "ZodError", "message": issues.to_string()});
            error(-32602, "Invalid params", data)
        }
    }
}

/// A notification.
pub fn notification(method: &str, params: &Value) -> Value {
    json!({"jsonrpc": "2.0", "method": method, "params": params})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_as_the_sdks_decode_them() {
        let id = json!(7);
        assert_eq!(
            answer(&id, Ok(Value::Null)),
            json!({"jsonrpc": "2.0", "id": 7, "result": {"ok": null}})
        );
        let missing = io::Error::from_raw_os_error(Errno::ENOENT as i32);
        let missing = Error::path(&missing, "open", Path::new("/x"));
        assert_eq!(
            answer(&id, Err(missing.into()))["result"]["error"],
            json!({
                "constructorName": "NotFound",
                "message": "No such file or directory (os error 2): open '/x'",
                "code": "ENOENT",
            })
        );
        let unknown = answer(&id, Err(Failure::UnknownMethod));
        assert_eq!(unknown["error"]["message"], "Method not found");
        let params = serde_json::from_str::<u8>("{}").unwrap_err();
        let params = answer(&id, Err(Failure::Params(params)));
        assert_eq!(params["error"]["data"]["constructorName"], "ZodError");
        let issues = params["error"]["data"]["message"].as_str().unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(issues).unwrap()[0]["path"],
            json!([])
        );
    }

    #[test]
    fn errors_have_the_classes_that_deno_has() {
        for (errno, name) in [
            (Errno::EACCES, "PermissionDenied"),
            (Errno::EEXIST, "AlreadyExists"),
            (Errno::EISDIR, "IsADirectory"),
            (Errno::ENOTDIR, "NotADirectory"),
            (Errno::ELOOP, "FilesystemLoop"),
            (Errno::ENOTEMPTY, "Error"),
        ] {
            let error = Error::io(&io::Error::from_raw_os_error(errno as i32), "doing");
            assert_eq!(error.constructor_name, name);
            assert_eq!(error.code, Some(format!("{errno:?}")));
        }
    }
}
