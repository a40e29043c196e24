//! The canonical request: one text for all spellings of a request.

use http::header::HOST;
use http::{HeaderName, HeaderValue, request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::Asked;

/// All but the unreserved characters of RFC 3986, section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// The same within a path, whose segments stay apart.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

/// A canonical request, and the list of headers that is in it.
pub(super) struct Canonical {
    pub(super) text: String,
    pub(super) signed: String,
}

/// The text that is signed of a request as it goes out. Headers that it does not have are not signed.
pub(super) fn request(head: &request::Parts, asked: &Asked, payload: &str) -> Canonical {
    let (mut headers, mut signed) = (String::new(), Vec::new());
    for name in &asked.headers {
        if let Some(value) = header(head, name) {
            headers.push_str(&format!("{name}:{value}\n"));
            signed.push(name.as_str());
        }
    }
    let signed = signed.join(";");
    let path = path(head.uri.path(), &asked.scope.service);
    let query = query(head.uri.query().unwrap_or_default());
    let method = &head.method;
    Canonical {
        text: format!("{method}\n{path}\n{query}\n{headers}\n{signed}\n{payload}"),
        signed,
    }
}

/// All values of a header. HTTP/2 has the host in its URI.
fn header(head: &request::Parts, name: &HeaderName) -> Option<String> {
    if *name == HOST && !head.headers.contains_key(HOST) {
        return head.uri.authority().map(ToString::to_string);
    }
    let values = head.headers.get_all(name).iter().map(single_spaced);
    let values: Vec<_> = values.collect();
    (!values.is_empty()).then(|| values.join(","))
}

fn single_spaced(value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    let words = text.split(' ').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// S3's keys are what they are; everywhere else dots and double slashes are resolved, and what is encoded is encoded
/// again.
fn path(path: &str, service: &str) -> String {
    if service == "s3" {
        return path.to_owned();
    }
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let is_folder = !segments.is_empty() && (path.ends_with('/') || path.ends_with("/."));
    let end = if is_folder { "/" } else { "" };
    let whole = format!("/{}{end}", segments.join("/"));
    utf8_percent_encode(&whole, RESERVED_IN_PATH).to_string()
}

/// Parameters in alphabetical order, each in one spelling.
fn query(query: &str) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    let pairs = form_urlencoded::parse(query.as_bytes());
    let mut pairs: Vec<_> = pairs
        .map(|(name, value)| (encoded(&name), encoded(&value)))
        .collect();
    pairs.sort();
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join("&")
}
