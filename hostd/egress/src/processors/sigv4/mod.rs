//! [`SigV4`]: requests to AWS, signed again.
//!
//! The program in the sandbox has the placeholder as its access key id and anything as its secret key, and signs as it
//! always does. Here the request is signed as it goes out: with the real keys, for the scope, the time and the headers that
//! the program chose. A session token (`x-amz-security-token`) is a secret of its own, which is put in before that.
//!
//! The specification is "AWS Signature Version 4 for API requests" of the IAM user guide.

mod asked;
mod canonical;
#[cfg(test)]
mod tests;

pub(crate) use self::asked::{Asked as SigV4Asked, Payload};

use http::{HeaderName, HeaderValue, request};
use thiserror::Error;

use self::asked::Asked;
use super::mac;

/// The header that says what is signed of a body.
pub(crate) const AWS_PAYLOAD: HeaderName = HeaderName::from_static("x-amz-content-sha256");
/// The one algorithm.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// What a scope ends with.
const TERMINATOR: &str = "aws4_request";
/// An access key id has so many characters at most (the IAM API's own limit).
const MAX_KEY_ID: usize = 128;

/// Signs requests to AWS. The secret's value is the secret access key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigV4 {
    access_key_id: String,
}

/// A request that is not signed again, or a signer that is none. Says nothing of what the request holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SigV4Error {
    /// An access key id with other characters than it may have, or too many.
    #[error("an access key id is 1 to {MAX_KEY_ID} letters, digits and `_`")]
    KeyId,
    /// Not the header that AWS's SDKs write.
    #[error(
        "its Authorization header is not of the form `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`"
    )]
    Authorization,
    /// A scope that is none.
    #[error("its credential's scope is not of the form DATE/REGION/SERVICE/aws4_request")]
    Scope,
    /// No time, one in another form, or of another day than the scope's.
    #[error("its x-amz-date header is missing, or is not of the scope's day")]
    Date,
    /// Signed headers that do not name the host.
    #[error("its signed headers do not name the host, or are no list of headers")]
    SignedHeaders,
    /// Chunks with signatures of their own, each of which depends on the one before.
    #[error(
        "its body's chunks are signed one by one; have the whole body signed, or x-amz-content-sha256: UNSIGNED-PAYLOAD"
    )]
    Streaming,
    /// A payload's hash that is none.
    #[error("its x-amz-content-sha256 header is no hash")]
    PayloadHash,
}

impl SigV4 {
    /// Signs as this access key.
    ///
    /// # Errors
    /// [`SigV4Error::KeyId`].
    pub fn new(access_key_id: &str) -> Result<Self, SigV4Error> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let sensible = (1..=MAX_KEY_ID).contains(&access_key_id.len());
        if !sensible || !access_key_id.bytes().all(known) {
            return Err(SigV4Error::KeyId);
        }
        Ok(Self {
            access_key_id: access_key_id.to_owned(),
        })
    }

    /// The access key id, which is no secret.
    pub fn access_key_id(&self) -> &str {
        &self.access_key_id
    }

    /// The `Authorization` of a request as it goes out; `payload` is the hash of its body, or what stands for it.
    pub(crate) fn authorization(
        &self,
        key: &[u8],
        asked: &Asked,
        head: &request::Parts,
        payload: &str,
    ) -> Result<HeaderValue, SigV4Error> {
        let canonical = canonical::request(head, asked, payload);
        let scope = &asked.scope;
        let text = format!(
            "{ALGORITHM}\n{}\n{scope}\n{}",
            asked.time,
            Payload::hash(canonical.text.as_bytes())
        );
        let signature = hex::encode(mac::sha256(&scope.key(key), &[text.as_bytes()]));
        let line = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={}, Signature={signature}",
            self.access_key_id, canonical.signed
        );
        let mut value = HeaderValue::from_str(&line).map_err(|_| SigV4Error::Authorization)?;
        value.set_sensitive(true);
        Ok(value)
    }
}
