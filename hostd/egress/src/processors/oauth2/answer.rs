//! What a token endpoint answers (RFC 6749, sections 5.1 and 5.2).

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Granted, OAuth2};
use crate::processors::TokenError;
use crate::secrets::SecretValue;

/// The errors that there are. A server's own words are not repeated to a sandbox.
const ERRORS: [&str; 6] = [
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
];

#[derive(Deserialize)]
struct Answer {
    access_token: Zeroizing<String>,
    #[serde(default)]
    expires_in: Value,
    #[serde(default)]
    refresh_token: Option<Zeroizing<String>>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
}

impl OAuth2 {
    /// Reads it.
    ///
    /// # Errors
    /// [`TokenError`]: there is no token in it.
    pub(crate) fn read(status: StatusCode, body: &[u8]) -> Result<Granted, TokenError> {
        if status != StatusCode::OK {
            let error = serde_json::from_slice::<ErrorAnswer>(body).ok();
            let code = |error: ErrorAnswer| ERRORS.into_iter().find(|known| *known == error.error);
            return Err(TokenError::Refused {
                status: status.as_u16(),
                code: error.and_then(code),
            });
        }
        let answer: Answer =
            serde_json::from_slice(body).map_err(|_| TokenError::Answer("has no access token"))?;
        let refresh = answer.refresh_token.filter(|token| !token.is_empty());
        Ok(Granted {
            token: value(&answer.access_token)?,
            lifetime: seconds(&answer.expires_in).map(Duration::from_secs),
            refresh: refresh.map(|token| value(&token)).transpose()?,
        })
    }
}

/// A token that can be where a placeholder is.
fn value(text: &str) -> Result<SecretValue, TokenError> {
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        return Err(TokenError::Answer("has a token that no header could hold"));
    }
    SecretValue::new(text)
        .map_err(|_| TokenError::Answer("has a token that is too short or too long"))
}

/// A number, or a text that is one: some servers write it so.
fn seconds(value: &Value) -> Option<u64> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    // 2.0e3, and what else JSON calls a number.
    number.or_else(|| {
        value
            .as_f64()
            .filter(|seconds| *seconds >= 0.0)
            .map(|seconds| seconds as u64)
    })
}
