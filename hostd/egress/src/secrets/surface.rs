//! [`Surface`]: where in a request a secret may be.

use std::num::NonZeroU32;

use http::{HeaderName, Method};
use percent_encoding::percent_decode_str;

/// Methods, path prefixes and header names of one surface: nobody writes more by hand.
pub const MAX_ENTRIES: usize = 64;
/// A path prefix in bytes.
pub const MAX_PREFIX: usize = 1024;
/// How often one secret is put into one request at most, whatever its surface says: a placeholder is some 50
/// bytes and a value up to 64 KiB, so without an end a guest could have a request blown up a thousandfold.
pub const MAX_USES: u32 = 1024;

/// Where in a request a placeholder is replaced. By default in every header, and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surface {
    /// Only in requests with one of these methods; none: with any.
    pub methods: Vec<Method>,
    /// Only in requests whose path is one of these or below it; none: any. A path with `.` or `..` among its
    /// segments, encoded or not, is outside of all prefixes.
    pub path_prefixes: Vec<String>,
    /// In which headers.
    pub headers: Headers,
    /// In the path.
    pub path: bool,
    /// In the query.
    pub query: bool,
    /// In the body.
    pub body: bool,
    /// In the text messages of a WebSocket.
    pub websocket: bool,
    /// How often in one request; none: up to [`MAX_USES`].
    pub max_uses: Option<NonZeroU32>,
    /// Also where the connection is not encrypted.
    pub plaintext: bool,
}

/// The headers of a surface.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Headers {
    /// In all of them.
    #[default]
    All,
    /// In these.
    Named(Vec<HeaderName>),
    /// In none.
    None,
}

impl Surface {
    /// Whether a request with this method and path is within it.
    pub(crate) fn covers(&self, method: &Method, path: &str) -> bool {
        let method = self.methods.is_empty() || self.methods.contains(method);
        method && (self.path_prefixes.is_empty() || self.covers_path(path))
    }

    fn covers_path(&self, path: &str) -> bool {
        let below = |prefix: &String| {
            let rest = path.strip_prefix(prefix.as_str());
            rest.is_some_and(|rest| {
                rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/')
            })
        };
        path.split('/').all(is_plain) && self.path_prefixes.iter().any(below)
    }

    /// Whether this header is within it.
    pub(crate) fn covers_header(&self, name: &HeaderName) -> bool {
        match &self.headers {
            Headers::All => true,
            Headers::Named(names) => names.contains(name),
            Headers::None => false,
        }
    }

    /// How often the secret is put into one request.
    pub(crate) fn most_uses(&self) -> u32 {
        self.max_uses
            .map_or(MAX_USES, |uses| uses.get().min(MAX_USES))
    }

    /// Whether its lists are of a sensible size, and each prefix is the beginning of a path.
    pub(crate) fn is_sensible(&self) -> bool {
        let named = match &self.headers {
            Headers::Named(names) => names.len(),
            Headers::All | Headers::None => 0,
        };
        let lengths = [self.methods.len(), self.path_prefixes.len(), named];
        let prefix = |prefix: &String| {
            prefix.starts_with('/')
                && prefix.len() <= MAX_PREFIX
                && prefix.bytes().all(|b| b.is_ascii_graphic() && b != b'?')
                && prefix.split('/').all(is_plain)
        };
        lengths.iter().all(|length| *length <= MAX_ENTRIES) && self.path_prefixes.iter().all(prefix)
    }
}

/// Whether no server takes a segment for another place than where it stands.
fn is_plain(segment: &str) -> bool {
    // Encoded twice is decoded twice by some server.
    let once: Vec<u8> = percent_decode_str(segment).collect();
    let twice: Vec<u8> = percent_encoding::percent_decode(&once).collect();
    let dots = |bytes: &[u8]| bytes == b"." || bytes == b"..";
    let parameters = twice.split(|b| *b == b';').next().unwrap_or_default();
    !dots(parameters) && !twice.iter().any(|b| matches!(b, b'/' | b'\\' | 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(prefixes: &[&str]) -> Surface {
        let surface = Surface {
            path_prefixes: prefixes.iter().map(|p| (*p).into()).collect(),
            ..Surface::default()
        };
        assert!(surface.is_sensible(), "{prefixes:?}");
        surface
    }

    #[test]
    fn the_default_is_every_header_and_nothing_else() {
        let surface = Surface::default();
        assert!(surface.covers(&Method::PATCH, "/../x"));
        assert!(surface.covers_header(&http::header::COOKIE));
        let off = [
            surface.path,
            surface.query,
            surface.body,
            surface.websocket,
            surface.plaintext,
        ];
        assert_eq!(off, [false; 5]);
    }

    #[test]
    fn a_prefix_ends_where_a_segment_does() {
        for (prefix, path, covered) in [
            ("/v1", "/v1", true),
            ("/v1", "/v1/x", true),
            ("/v1", "/v1x", false),
            ("/v1/", "/v1/x", true),
            ("/v1/", "/v1", false),
            ("/", "/x", true),
            ("/v1", "/x/v1", false),
            ("/v1", "/V1/x", false),
        ] {
            assert_eq!(
                within(&[prefix]).covers(&Method::GET, path),
                covered,
                "{prefix} {path}"
            );
        }
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_outside() {
        for path in [
            "/v1/../admin",
            "/v1/..",
            "/v1/./x",
            "/v1/%2e%2e/admin",
            "/v1/.%2E/admin",
            "/v1/%252e%252e/admin",
            "/v1/..;x=y/admin",
            "/v1/..%2fadmin",
            "/v1/x%5c..%5cadmin",
            "/v1/..\\admin",
            "/v1/%00",
        ] {
            assert!(!within(&["/v1"]).covers(&Method::GET, path), "{path}");
        }
        assert!(within(&["/v1"]).covers(&Method::GET, "/v1/a..b/...%20"));
    }

    #[test]
    fn methods_and_headers_are_those_named() {
        let surface = Surface {
            methods: vec![Method::GET],
            headers: Headers::Named(vec![http::header::AUTHORIZATION]),
            ..Surface::default()
        };
        assert!(surface.covers(&Method::GET, "/") && !surface.covers(&Method::POST, "/"));
        assert!(surface.covers_header(&http::header::AUTHORIZATION));
        assert!(!surface.covers_header(&http::header::COOKIE));
    }

    #[test]
    fn senseless_surfaces_are_told() {
        for prefix in ["", "v1", "/v1?x", "/a b", "/../x", "/%2e%2e"] {
            let surface = Surface {
                path_prefixes: vec![prefix.into()],
                ..Surface::default()
            };
            assert!(!surface.is_sensible(), "{prefix}");
        }
        let surface = Surface {
            methods: vec![Method::GET; MAX_ENTRIES + 1],
            ..Surface::default()
        };
        assert!(!surface.is_sensible());
    }
}
