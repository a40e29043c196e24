//! In a URL (RFC 3986), and in a form (`application/x-www-form-urlencoded`).

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode};

use super::Text;

/// RFC 3986, section 2.3: what needs no encoding in any part of a URL.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Python's `urllib.parse.quote`.
const SEGMENTS: &AsciiSet = &UNRESERVED.remove(b'/');

/// JavaScript's `encodeURIComponent`.
const COMPONENT: &AsciiSet = &UNRESERVED
    .remove(b'!')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*');

/// JavaScript's `encodeURI`: delimiters stay, too.
const WHOLE: &AsciiSet = &COMPONENT
    .remove(b';')
    .remove(b',')
    .remove(b'/')
    .remove(b'?')
    .remove(b':')
    .remove(b'@')
    .remove(b'&')
    .remove(b'=')
    .remove(b'+')
    .remove(b'$')
    .remove(b'#');

/// Go's path segments: sub-delimiters stay.
const SUB_DELIMITERS: &AsciiSet = &UNRESERVED
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The WHATWG's queries: little is encoded.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');

/// The WHATWG's special queries.
const SPECIAL_QUERY: &AsciiSet = &QUERY.add(b'\'');

/// The WHATWG's paths.
const PATH: &AsciiSet = &QUERY.add(b'?').add(b'^').add(b'`').add(b'{').add(b'}');

/// The WHATWG's user names and passwords.
const USER: &AsciiSet = &PATH
    .add(b'/')
    .add(b':')
    .add(b';')
    .add(b'=')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'|');

/// The WHATWG's forms, and Java's: a tilde is encoded, a star is not.
const FORM: &AsciiSet = &UNRESERVED.add(b'~').remove(b'*');

const SETS: &[&AsciiSet] = &[
    UNRESERVED,
    SEGMENTS,
    COMPONENT,
    WHOLE,
    SUB_DELIMITERS,
    QUERY,
    SPECIAL_QUERY,
    PATH,
    USER,
    FORM,
];

/// Those of which a space may be a plus.
const FORMS: &[&AsciiSet] = &[UNRESERVED, FORM];

/// For a path or a query.
pub(in crate::rewrite) fn percent(value: &[u8]) -> Text {
    encoded(value, UNRESERVED)
}

/// As browsers write forms: a space is a plus.
pub(in crate::rewrite) fn form(value: &[u8]) -> Text {
    with_plus(&percent(value))
}

/// Every way that is looked for.
pub(super) fn forms(value: &[u8]) -> impl Iterator<Item = Text> {
    let plain = SETS.iter().map(|set| encoded(value, set));
    let forms = FORMS.iter().map(|set| with_plus(&encoded(value, set)));
    plain.chain(forms).flat_map(|large| [small(&large), large])
}

fn encoded(value: &[u8], set: &'static AsciiSet) -> Text {
    super::text(3 * value.len(), |text| {
        for piece in percent_encode(value, set) {
            text.extend_from_slice(piece.as_bytes());
        }
    })
}

/// With small hexadecimal digits.
fn small(large: &[u8]) -> Text {
    super::text(large.len(), |text| {
        let mut digits = 0;
        for byte in large {
            text.push(if digits > 0 {
                digits -= 1;
                byte.to_ascii_lowercase()
            } else {
                *byte
            });
            if *byte == b'%' {
                digits = 2;
            }
        }
    })
}

fn with_plus(encoded: &[u8]) -> Text {
    super::text(encoded.len(), |text| {
        let mut rest = encoded;
        while let Some((first, after)) = rest.split_first() {
            let space = rest.strip_prefix(b"%20");
            text.push(if space.is_some() { b'+' } else { *first });
            rest = space.unwrap_or(after);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &[u8] = b"a b/\"c\"+\\~%";

    #[test]
    fn a_value_is_written_as_its_place_needs() {
        assert_eq!(percent(VALUE)[..], *b"a%20b%2F%22c%22%2B%5C~%25");
        assert_eq!(form(VALUE)[..], *b"a+b%2F%22c%22%2B%5C~%25");
    }

    #[test]
    fn what_others_write_is_among_the_forms() {
        let forms: Vec<_> = forms(b"a b/c?d=e'(\xc3\xbc~").collect();
        for other in [
            "a%20b/c%3Fd%3De%27%28%C3%BC~",
            "a%20b%2Fc%3Fd%3De'(%C3%BC~",
            "a%20b/c?d=e'(%C3%BC~",
            "a%20b%2fc%3fd%3de%27%28%c3%bc~",
            "a%20b/c?d=e%27(%C3%BC~",
            "a+b%2Fc%3Fd%3De%27%28%C3%BC%7E",
            "a+b%2fc%3fd%3de%27%28%c3%bc%7e",
        ] {
            let found = forms.iter().any(|form| form[..] == *other.as_bytes());
            assert!(found, "{other}");
        }
    }
}
