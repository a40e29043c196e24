//! Who is let in: servers that give nothing to those who do not know the world's key.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use hyper::http::response::Builder;
use hyper::{Response, StatusCode};

use super::record::Seen;
use super::web::{Answer, full};

/// The password of [`USER`].
pub const KEY: &str = "sk-live-51a9c3e7f0b24d68";
/// Who has it.
pub const USER: &str = "somebody";

/// A header of answers: what the request's authorization was, for whoever cannot see that otherwise.
const ECHO: &str = "x-seen-authorization";

/// What the header of a request with [`KEY`] is.
pub fn basic() -> String {
    let both = BASE64_STANDARD.encode(format!("{USER}:{KEY}"));
    format!("Basic {both}")
}

/// Whether the request has the key, not a placeholder.
pub(super) fn has_key(seen: &Seen) -> bool {
    seen.headers.get(AUTHORIZATION.as_str()) == Some(&basic())
}

/// What makes clients send what they know.
pub(super) fn refusal() -> crate::Result<Answer> {
    let answer = Response::builder().status(StatusCode::UNAUTHORIZED);
    let realm = "Basic realm=\"the tests' world\"";
    Ok(answer.header(WWW_AUTHENTICATE, realm).body(full(""))?)
}

/// Tells in an answer's head what the request's authorization was.
pub(super) fn echo(answer: Builder, seen: &Seen) -> Builder {
    match seen.headers.get(AUTHORIZATION.as_str()) {
        Some(authorization) => answer.header(ECHO, authorization),
        None => answer,
    }
}
