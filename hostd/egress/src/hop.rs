//! Headers that speak of one connection and end at us (RFC 9110, section 7.6.1).

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// Goes with `Upgrade: h2c`, which is not offered on.
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

const OF_ONE_CONNECTION: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HTTP2_SETTINGS,
];

fn is_of_one_connection(name: &HeaderName) -> bool {
    OF_ONE_CONNECTION.contains(name)
}

/// Drops what ends here, and what `Connection` names, but for what frames or addresses the message.
///
/// `TE: trailers` stays: gRPC asks for its trailers with it, and we pass trailers on.
pub fn strip(headers: &mut HeaderMap) {
    // Most messages have none.
    if !headers.keys().any(is_of_one_connection) {
        return;
    }
    let trailers = tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    for name in &OF_ONE_CONNECTION {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// The comma-separated tokens of all headers called `name`; what is no text is left out.
pub fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let names = tokens(headers, &CONNECTION).filter_map(|token| token.parse().ok());
    names
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(pairs: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        left.sort();
        left
    }

    #[test]
    fn what_speaks_of_the_connection_ends_here() {
        let kept = stripped(&[
            ("connection", "keep-alive, X-Mine"),
            ("keep-alive", "timeout=5"),
            ("x-mine", "1"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("proxy-connection", "close"),
            ("proxy-authorization", "Basic eA=="),
            ("transfer-encoding", "chunked"),
            ("accept", "*/*"),
        ]);
        assert_eq!(kept, ["accept: */*"]);
    }

    #[test]
    fn what_frames_or_addresses_the_message_stays_whatever_connection_says() {
        let kept = stripped(&[
            ("connection", "host, content-length, close"),
            ("host", "a"),
            ("content-length", "3"),
        ]);
        assert_eq!(kept, ["content-length: 3", "host: a"]);
    }

    #[test]
    fn trailers_may_still_be_asked_for() {
        assert_eq!(
            stripped(&[("te", "gzip, trailers"), ("connection", "te")]),
            ["te: trailers"]
        );
        assert!(stripped(&[("te", "gzip;q=1")]).is_empty());
    }
}
