//! What is wrong with keys and sealed texts. Says nothing of values.

use thiserror::Error;

use super::text::MAX_SEALED;
use crate::secrets::{HostsError, SecretValueError};

/// A text or bytes that are no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyError {
    /// No public key's text.
    #[error("it is no public key of a host: `thaw-key-1.` and 43 characters of base64url")]
    Text,
    /// A private key has 32 bytes.
    #[error("it has {0} bytes; a private key has 32")]
    Length(usize),
}

/// A text that is not sealed, or a value that could not be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealedError {
    /// Longer than any sealed secret.
    #[error("it has {0} bytes; a sealed secret has at most {MAX_SEALED}")]
    TooLong(usize),
    /// Not of the form.
    #[error("it is no sealed secret: {0}")]
    Form(&'static str),
    /// The hosts that it is for.
    #[error("it is sealed for hosts that are none")]
    Hosts(#[from] HostsError),
    /// The system gives no random bytes.
    #[error("the system has no random bytes")]
    Random,
}

/// Why a sealed text cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UnsealError {
    /// Another host's.
    #[error("it is sealed for the key {for_key}; this host's is {this}")]
    OtherKey {
        /// The key that it is for.
        for_key: String,
        /// The key that there is.
        this: String,
    },
    /// Not a byte may change.
    #[error("it was altered, or sealed with another private key's public key")]
    Altered,
    /// The value is none.
    #[error(transparent)]
    Value(#[from] SecretValueError),
}
