//! The first bytes of a connection: what is spoken, and with whom.
//!
//! | the bytes | are |
//! |---|---|
//! | a TLS handshake record | TLS: the whole ClientHello is awaited and read strictly |
//! | `PRI * HTTP/2.0` | HTTP/2 in the clear |
//! | a first line that some server might take for a request | HTTP/1, however malformed: what opens it is strict |
//! | anything else | unknown |
//!
//! The danger is a connection that is unknown here and HTTP or TLS there: its host would go unseen.
//! So everything that *could* become one of them is awaited, and refused if it does not come.
//! The answer depends on the bytes only, never on the pieces in which they came.

mod client_hello;
mod http;
#[cfg(test)]
mod tests;

pub use self::client_hello::{ClientHello, TlsError};

use bytes::{Bytes, BytesMut};
use thiserror::Error;

/// So much is read to decide. Clients' hellos have at most 2 KiB or so, with post-quantum keys and
/// encrypted hellos inside; servers take request lines of 8 KiB.
pub const MAX_FIRST_BYTES: usize = 16 * 1024;

/// What is spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spoken {
    /// TLS, and what the client said.
    Tls(ClientHello),
    /// HTTP/1, or what looks like it.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// Something else.
    Unknown,
}

/// Why the first bytes are refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SniffError {
    /// Undecided after [`MAX_FIRST_BYTES`].
    #[error("the client's first {MAX_FIRST_BYTES} bytes do not say which host it means")]
    TooLong,
    /// TLS that is wrong.
    #[error("the client's TLS hello is malformed: {0}")]
    Tls(#[from] TlsError),
}

/// Reads the first bytes of one connection.
#[derive(Debug, Default)]
pub struct Sniffer(BytesMut);

impl Sniffer {
    /// Where the next bytes are to be read to; see [`Sniffer::decide`].
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.0
    }

    /// What is spoken; nothing, as long as the bytes leave it open.
    ///
    /// # Errors
    /// [`SniffError`]: the connection is to be refused.
    pub fn decide(&self) -> Result<Option<Spoken>, SniffError> {
        let bytes = self.0.get(..MAX_FIRST_BYTES).unwrap_or(&self.0);
        let spoken = match client_hello::begins(bytes) {
            Some(true) => client_hello::read(bytes)?.map(Spoken::Tls),
            Some(false) => http::read(bytes),
            None => None,
        };
        if spoken.is_none() && self.0.len() >= MAX_FIRST_BYTES {
            return Err(SniffError::TooLong);
        }
        Ok(spoken)
    }

    /// All that was read.
    pub fn into_bytes(self) -> Bytes {
        self.0.freeze()
    }
}
