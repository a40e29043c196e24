//! [`Coding`]: the content codings that can be read.

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderName};
use http::{HeaderMap, HeaderValue};

use super::decoded::Decoded;
use super::transform::Transform;

/// A coding within a coding within a coding: nobody needs more.
const MOST: usize = 3;
/// gRPC's own compression, of each message alone, within the body's frames.
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 1950, or RFC 1951 by mistake.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl Coding {
    /// A body's codings in the order in which they were applied; `None` if one is not known.
    pub(super) fn list(headers: &HeaderMap) -> Option<Vec<Self>> {
        let mut codings = Vec::new();
        for value in headers.get_all(CONTENT_ENCODING) {
            for name in value.to_str().ok()?.split(',').map(str::trim) {
                match name.to_ascii_lowercase().as_str() {
                    "" | "identity" => {}
                    name => codings.push(Self::named(name)?),
                }
            }
        }
        (codings.len() <= MOST).then_some(codings)
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "gzip" | "x-gzip" => Self::Gzip,
            "deflate" => Self::Deflate,
            "br" => Self::Brotli,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }
}

/// An answer in a coding that nobody here knows, and nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

/// Leaves of what a request accepts the codings that are known here.
pub(crate) fn asks_for_readable(headers: &mut HeaderMap) {
    headers.remove(GRPC_ACCEPT_ENCODING);
    let values = headers.get_all(ACCEPT_ENCODING).iter();
    let items = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','));
    let known: Vec<_> = items.map(str::trim).filter(|item| is_known(item)).collect();
    let text = if known.is_empty() {
        // Without the header, a server may use whatever it likes (RFC 9110, section 12.5.3).
        "identity".into()
    } else {
        known.join(", ")
    };
    // Parts of a header's value are one.
    let value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("identity"));
    headers.insert(ACCEPT_ENCODING, value);
}

/// What reads an answer's body: `inner`, behind what decodes it. The head speaks of the decoded body from then on.
///
/// # Errors
/// [`Unreadable`]: it cannot be decoded here.
pub(crate) fn decoded(
    headers: &mut HeaderMap,
    inner: Box<dyn Transform>,
) -> Result<Box<dyn Transform>, Unreadable> {
    if !is_grpc_plain(headers) {
        return Err(Unreadable);
    }
    let codings = Coding::list(headers).ok_or(Unreadable)?;
    if !codings.is_empty() {
        forget_coding(headers);
    }
    // The coding that is named first was applied first.
    Ok(codings
        .into_iter()
        .fold(inner, |inner, coding| Box::new(Decoded::new(coding, inner))))
}

/// Length and digests are of the coded body, and a strong validator is of its every byte (RFC 9110, section 8.8.1).
fn forget_coding(headers: &mut HeaderMap) {
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    for digest in ["content-digest", "repr-digest", "digest", "content-md5"] {
        headers.remove(HeaderName::from_static(digest));
    }
    let strong = headers
        .get(ETAG)
        .filter(|tag| tag.as_bytes().starts_with(b"\""));
    let weak = strong.map(|tag| HeaderValue::try_from([b"W/", tag.as_bytes()].concat()));
    if let Some(Ok(weak)) = weak {
        headers.insert(ETAG, weak);
    }
}

fn is_known(item: &str) -> bool {
    let name = item
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    name == "identity" || Coding::named(&name).is_some()
}

/// Whether no message of gRPC is compressed.
fn is_grpc_plain(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(GRPC_ENCODING).iter();
    values.all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::Same;

    #[test]
    fn a_request_asks_for_what_is_known() {
        for (asked, sent) in [
            ("gzip, deflate, br, zstd", "gzip, deflate, br, zstd"),
            ("gzip;q=0.5, dcb, *;q=0.1, BR", "gzip;q=0.5, BR"),
            ("*", "identity"),
            ("compress", "identity"),
            ("", "identity"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, asked.parse().unwrap());
            asks_for_readable(&mut headers);
            assert_eq!(headers[ACCEPT_ENCODING], sent);
        }
        let mut headers = HeaderMap::new();
        asks_for_readable(&mut headers);
        assert_eq!(headers[ACCEPT_ENCODING], "identity");
    }

    #[test]
    fn the_head_speaks_of_the_decoded_body() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-encoding", "gzip"),
            ("etag", "\"one\""),
            ("digest", "sha-256=abc"),
            ("vary", "accept-encoding"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        assert!(decoded(&mut headers, Box::new(Same)).is_ok());
        assert_eq!(headers.len(), 2);
        assert_eq!(headers[ETAG], "W/\"one\"");
        headers.insert(GRPC_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(
            decoded(&mut headers, Box::new(Same)).err(),
            Some(Unreadable)
        );
    }

    #[test]
    fn an_answer_names_its_codings_in_order() {
        let list = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, text.parse().unwrap());
            Coding::list(&headers)
        };
        assert_eq!(list("GZIP, br"), Some(vec![Coding::Gzip, Coding::Brotli]));
        assert_eq!(list("identity"), Some(vec![]));
        assert_eq!(list("gzip, compress"), None);
        assert_eq!(list("gzip, gzip, gzip, gzip"), None);
    }
}
