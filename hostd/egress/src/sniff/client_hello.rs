//! The ClientHello. rustls reads it; what rustls does not tell, that it has an encrypted one inside,
//! is looked up in the same bytes.

use rustls::server::{Accepted, Acceptor};
use thiserror::Error;

use crate::policy::{HostName, HostNameError};

/// What matters of a ClientHello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The name that the client asks for. An address is no name, and does not count.
    pub name: Option<HostName>,
    /// The protocols that the client offers, in its order.
    pub alpn: Vec<Vec<u8>>,
    /// Whether the ClientHello has an encrypted one inside, or pretends to.
    pub ech: bool,
}

/// What is wrong with a ClientHello.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TlsError {
    /// Records that no client sends: empty ones, too long ones, other ones, or very many.
    #[error("bad records")]
    Records,
    /// Another message than a ClientHello, or something behind it.
    #[error("no ClientHello")]
    Message,
    /// rustls refused it.
    #[error("{0}")]
    Refused(String),
    /// The name is no host's name.
    #[error("server name: {0}")]
    Name(HostNameError),
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// RFC 8446, section 5.1.
const MAX_RECORD: usize = 1 << 14;
/// One record is usual, and two or three are seen. Each is looked at again with each piece.
const MAX_RECORDS: usize = 32;
/// `encrypted_client_hello`, of RFC 9849, and `encrypted_server_name` before it.
const ECH: [u16; 2] = [0xfe0d, 0xffce];

/// Whether TLS begins like this; open for one byte at most.
pub(super) fn begins(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [] | [HANDSHAKE] => None,
        // Every version has major number 3 here, and no server takes another.
        [HANDSHAKE, 3, ..] => Some(true),
        _ => Some(false),
    }
}

/// Reads the ClientHello; nothing, as long as it is not complete.
pub(super) fn read(bytes: &[u8]) -> Result<Option<ClientHello>, TlsError> {
    let Some((records, message)) = collect(bytes)? else {
        return Ok(None);
    };
    let accepted = accept(records)?;
    let hello = accepted.client_hello();
    let name = hello
        .server_name()
        .map(|name| HostName::from_wire(name.as_bytes()));
    Ok(Some(ClientHello {
        name: name.transpose().map_err(TlsError::Name)?,
        alpn: hello
            .alpn()
            .into_iter()
            .flatten()
            .map(<[u8]>::to_vec)
            .collect(),
        ech: extensions(&message)
            .ok_or(TlsError::Message)?
            .iter()
            .any(|e| ECH.contains(e)),
    }))
}

/// A whole message: the bytes of its records, and its body.
type Collected<'a> = (&'a [u8], Vec<u8>);

/// Puts the message together; nothing, as long as it is not complete.
fn collect(mut bytes: &[u8]) -> Result<Option<Collected<'_>>, TlsError> {
    let (all, mut message) = (bytes, Vec::new());
    for _ in 0..MAX_RECORDS {
        let Some((header, rest)) = bytes.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let [kind, major, _, high, low] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if kind != HANDSHAKE || major != 3 || !(1..=MAX_RECORD).contains(&length) {
            return Err(TlsError::Records);
        }
        let part = rest.get(..length).unwrap_or(rest);
        message.extend_from_slice(part);
        let missing = missing(&message)?;
        let Some(rest) = rest.get(length..) else {
            return Ok(None);
        };
        bytes = rest;
        if missing == Some(0) {
            let used = all.len() - rest.len();
            let records = all.get(..used).unwrap_or_default();
            return Ok(Some((records, message.split_off(4))));
        }
    }
    Err(TlsError::Records)
}

/// How many bytes the message lacks, once it says how long it is.
fn missing(message: &[u8]) -> Result<Option<usize>, TlsError> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(TlsError::Message);
    }
    let Some([_, a, b, c]) = message.first_chunk() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, *a, *b, *c]) as usize + 4;
    // The client waits for an answer now; more would be another message.
    length
        .checked_sub(message.len())
        .map(Some)
        .ok_or(TlsError::Message)
}

fn accept(mut records: &[u8]) -> Result<Accepted, TlsError> {
    let mut acceptor = Acceptor::default();
    while !records.is_empty() {
        acceptor
            .read_tls(&mut records)
            .map_err(|_| TlsError::Records)?;
        match acceptor.accept() {
            Ok(Some(accepted)) if records.is_empty() => return Ok(accepted),
            Ok(None) => {}
            Ok(Some(_)) => return Err(TlsError::Message),
            Err((error, _)) => return Err(TlsError::Refused(error.to_string())),
        }
    }
    Err(TlsError::Message)
}

/// The types of the extensions of a ClientHello (RFC 8446, section 4.1.2).
fn extensions(message: &[u8]) -> Option<Vec<u16>> {
    // Version and random.
    let mut rest = message.get(2 + 32..)?;
    let (_session, _suites, _compressions) = (
        vector8(&mut rest)?,
        vector16(&mut rest)?,
        vector8(&mut rest)?,
    );
    if rest.is_empty() {
        return Some(Vec::new());
    }
    let mut list = vector16(&mut rest)?;
    let mut types = Vec::new();
    while !list.is_empty() {
        types.push(number16(&mut list)?);
        vector16(&mut list)?;
    }
    rest.is_empty().then_some(types)
}

fn number16(bytes: &mut &[u8]) -> Option<u16> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u16::from_be_bytes(*number))
}

fn vector16<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number16(bytes)?;
    take(bytes, length.into())
}

fn vector8<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first()?;
    *bytes = rest;
    take(bytes, usize::from(*length))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}
