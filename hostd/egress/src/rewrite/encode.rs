//! How a value is written in different places.

use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

/// RFC 3986, section 2.3: what needs no encoding in any part of a URL.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

pub(super) type Text = Zeroizing<Vec<u8>>;

/// For a path or a query.
pub(super) fn percent(value: &[u8]) -> Text {
    let encoded = percent_encode(value, RESERVED);
    Zeroizing::new(encoded.flat_map(str::bytes).collect())
}

/// The same with small hexadecimal digits, as some write it.
pub(super) fn percent_small(value: &[u8]) -> Text {
    let mut text = percent(value);
    let mut digits = 0;
    for byte in text.iter_mut() {
        match byte {
            b'%' => digits = 2,
            _ if digits > 0 => {
                digits -= 1;
                byte.make_ascii_lowercase();
            }
            _ => {}
        }
    }
    text
}

/// As browsers write forms: a space is a plus.
pub(super) fn form(value: &[u8]) -> Text {
    let encoded = percent(value);
    let mut text = Vec::with_capacity(encoded.len());
    let mut rest = &encoded[..];
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"%20") {
            text.push(b'+');
            rest = after;
        } else {
            text.push(*first);
            rest = after;
        }
    }
    Zeroizing::new(text)
}

/// Within a JSON string. A value that is no UTF-8 is no JSON, and goes as it is.
pub(super) fn json(value: &[u8]) -> Text {
    let Some(text) = std::str::from_utf8(value).ok() else {
        return Zeroizing::new(value.to_vec());
    };
    let quoted = Zeroizing::new(serde_json::to_vec(text).unwrap_or_default());
    let inner = quoted.get(1..quoted.len().saturating_sub(1));
    Zeroizing::new(inner.unwrap_or_default().to_vec())
}

/// Each `what` written as `other`.
pub(super) fn replaced(text: &[u8], what: u8, other: &[u8]) -> Text {
    let pieces: Vec<&[u8]> = text.split(|byte| *byte == what).collect();
    Zeroizing::new(pieces.join(other))
}

/// Within HTML or XML, with this way to write an apostrophe.
pub(super) fn html(value: &[u8], apostrophe: &[u8]) -> Text {
    let mut text = Vec::with_capacity(value.len());
    for byte in value {
        match byte {
            b'&' => text.extend_from_slice(b"&amp;"),
            b'<' => text.extend_from_slice(b"&lt;"),
            b'>' => text.extend_from_slice(b"&gt;"),
            b'"' => text.extend_from_slice(b"&quot;"),
            b'\'' => text.extend_from_slice(apostrophe),
            other => text.push(*other),
        }
    }
    Zeroizing::new(text)
}

/// The texts that base64 makes of a value with `before` bytes before it (0, 1 or 2): when the value is the
/// end, and when something follows. A character that holds bits of what is before or after is left out.
pub(super) fn base64(value: &[u8], before: usize) -> [Text; 4] {
    let of = |alphabet: &GeneralPurpose| {
        let padded = Zeroizing::new([&[0; 2][..before.min(2)], value].concat());
        let whole = Zeroizing::new(alphabet.encode(&padded[..]).into_bytes());
        let start = [0, 2, 3].get(before).copied().unwrap_or_default();
        let middle = whole.get(start..padded.len() * 8 / 6).unwrap_or_default();
        let end = whole.get(start..).unwrap_or_default();
        [end, middle].map(|text| Zeroizing::new(text.to_vec()))
    };
    let ([a, b], [c, d]) = (of(&STANDARD_NO_PAD), of(&URL_SAFE_NO_PAD));
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &Text) -> &str {
        std::str::from_utf8(text).unwrap()
    }

    #[test]
    fn values_are_written_as_their_place_needs() {
        let value = b"a b/\"c\"+\\~%";
        assert_eq!(text(&percent(value)), "a%20b%2F%22c%22%2B%5C~%25");
        assert_eq!(text(&percent_small(value)), "a%20b%2f%22c%22%2b%5c~%25");
        assert_eq!(text(&form(value)), "a+b%2F%22c%22%2B%5C~%25");
        assert_eq!(text(&json(value)), r#"a b/\"c\"+\\~%"#);
        assert_eq!(
            text(&html(b"<a&'b'>", b"&#39;")),
            "&lt;a&amp;&#39;b&#39;&gt;"
        );
        assert_eq!(text(&replaced(b"a/b/", b'/', b"\\/")), "a\\/b\\/");
        assert_eq!(json(&[0xff, b'"'])[..], [0xff, b'"']);
    }

    #[test]
    fn base64_is_found_whatever_is_around_it() {
        let value = b"a secret value?>";
        for before in 0..9 {
            for after in 0..4 {
                let around = [&vec![b'x'; before][..], value, &vec![b'y'; after][..]].concat();
                for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                    let whole = engine.encode(&around);
                    let forms = base64(value, before % 3);
                    assert!(
                        forms.iter().any(|form| whole.contains(text(form))),
                        "{before} {after}"
                    );
                }
            }
        }
    }
}
