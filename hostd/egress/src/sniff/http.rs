//! Whether a first line is one that some HTTP server might answer.
//!
//! Servers skip empty lines before a request, take any method, and some take no version or split the line at
//! any white space, a lone CR included (RFC 9112, section 3); so what is called HTTP here is wider than HTTP.
//! Its opposite number, which opens it, takes only the real thing.

use super::Spoken;

const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";

/// With these, a line without a version is a request of HTTP/0.9.
const METHODS: &[&[u8]] = &[
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH",
];

/// What the bytes are, or nothing as long as the first line is open.
pub(super) fn read(bytes: &[u8]) -> Option<Spoken> {
    let blank = bytes.iter().take_while(|b| is_blank(**b)).count();
    let rest = bytes.get(blank..).unwrap_or_default();
    let end = rest.iter().position(|b| !is_text(*b));
    let line = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
    let method = line.iter().take_while(|b| is_token(**b)).count();
    match line.get(method) {
        // So far there is a method only, or nothing.
        None => match end {
            Some(end) if method > 0 => lone_cr(rest, end),
            Some(_) => Some(Spoken::Unknown),
            None => None,
        },
        Some(after) if is_blank(*after) => line_of(blank, rest, line, method, end),
        _ => Some(Spoken::Unknown),
    }
}

/// A line of which only its end can say more: whether that is a CR which some take for white space.
fn lone_cr(rest: &[u8], end: usize) -> Option<Spoken> {
    if rest.get(end) != Some(&b'\r') {
        return Some(Spoken::Unknown);
    }
    let lone = *rest.get(end + 1)? != b'\n';
    Some(if lone { Spoken::Http1 } else { Spoken::Unknown })
}

/// A line that begins like a request.
fn line_of(
    blank: usize,
    rest: &[u8],
    line: &[u8],
    method: usize,
    end: Option<usize>,
) -> Option<Spoken> {
    let end = end?;
    let after = *rest.get(end)?;
    if after != b'\r' && after != b'\n' {
        return Some(Spoken::Unknown);
    }
    if blank == 0 && HTTP2.starts_with(line) && HTTP2.len() == line.len() + 2 {
        // The preface goes on; nothing else begins like this.
        return Some(Spoken::Http2);
    }
    let known = line
        .get(..method)
        .is_some_and(|m| METHODS.iter().any(|k| k.eq_ignore_ascii_case(m)));
    let versioned = line.windows(5).any(|w| w.eq_ignore_ascii_case(b"HTTP/"));
    if known || versioned {
        Some(Spoken::Http1)
    } else {
        lone_cr(rest, end)
    }
}

/// White space before a request or within its line, as the most lenient servers see it.
fn is_blank(byte: u8) -> bool {
    b" \t\x0b\x0c\r\n".contains(&byte)
}

/// What may be in a line. Other control characters are in no request line of any server.
fn is_text(byte: u8) -> bool {
    b"\t\x0b\x0c".contains(&byte) || !byte.is_ascii_control()
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
