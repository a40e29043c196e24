//! In a JSON string (RFC 8259, section 7).

use std::io::Write as _;

use super::Text;

/// A character of one byte becomes six at most.
const GROWTH: usize = 6;

/// What is written as a number although it need not be, and with which digits.
#[derive(Debug, Clone, Copy)]
struct Style {
    /// As PHP does.
    slash: bool,
    /// As what goes into HTML: Go, Rails, Django.
    markup: bool,
    /// As Python and PHP do.
    beyond_ascii: bool,
    large_digits: bool,
}

/// As everybody reads it. A value that is no UTF-8 is no JSON, and goes as it is.
pub(in crate::rewrite) fn json(value: &[u8]) -> Text {
    let usual = Style {
        slash: false,
        markup: false,
        beyond_ascii: false,
        large_digits: false,
    };
    written(value, usual)
}

/// Every way that is looked for.
pub(super) fn forms(value: &[u8]) -> impl Iterator<Item = Text> {
    (0..16_u8).map(move |bits| {
        let style = Style {
            slash: bits & 1 != 0,
            markup: bits & 2 != 0,
            beyond_ascii: bits & 4 != 0,
            large_digits: bits & 8 != 0,
        };
        written(value, style)
    })
}

fn written(value: &[u8], style: Style) -> Text {
    super::text(value.len() * GROWTH, |text| {
        match std::str::from_utf8(value) {
            Ok(value) => value.chars().for_each(|one| style.write(one, text)),
            Err(_) => text.extend_from_slice(value),
        }
    })
}

impl Style {
    fn write(self, one: char, text: &mut Vec<u8>) {
        match one {
            '"' => text.extend_from_slice(b"\\\""),
            '\\' => text.extend_from_slice(b"\\\\"),
            '\n' => text.extend_from_slice(b"\\n"),
            '\r' => text.extend_from_slice(b"\\r"),
            '\t' => text.extend_from_slice(b"\\t"),
            '\u{8}' => text.extend_from_slice(b"\\b"),
            '\u{c}' => text.extend_from_slice(b"\\f"),
            '/' if self.slash => text.extend_from_slice(b"\\/"),
            '<' | '>' | '&' | '\'' if self.markup => self.number(one, text),
            _ if one < ' ' || (self.beyond_ascii && !one.is_ascii()) => self.number(one, text),
            _ => text.extend_from_slice(one.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }

    fn number(self, one: char, text: &mut Vec<u8>) {
        for unit in one.encode_utf16(&mut [0; 2]) {
            // Writing to memory does not fail.
            let _ = match self.large_digits {
                true => write!(text, "\\u{unit:04X}"),
                false => write!(text, "\\u{unit:04x}"),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_form_is_what_everybody_writes() {
        let value = "a b/\"c\"+\\~%<\u{1}\n\t\u{8}\u{c}\r\u{7f}ü\u{1f512}";
        let quoted = serde_json::to_string(value).unwrap();
        assert_eq!(
            json(value.as_bytes())[..],
            quoted.as_bytes()[1..quoted.len() - 1]
        );
        assert_eq!(json(&[0xff, b'"'])[..], [0xff, b'"']);
    }

    #[test]
    fn every_form_says_the_same() {
        let value = "a/<b>&'c'\"ü\u{1f512}\u{1f}";
        for form in forms(value.as_bytes()) {
            let quoted = format!("\"{}\"", std::str::from_utf8(&form).unwrap());
            assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), value);
        }
    }

    #[test]
    fn what_others_write_is_among_the_forms() {
        let forms: Vec<_> = forms("a/<b>ü\u{1f512}".as_bytes()).collect();
        for other in [
            r"a\/<b>ü🔒",
            r"a/\u003cb\u003eü🔒",
            r"a/\u003Cb\u003Eü🔒",
            r"a/<b>\u00fc\ud83d\udd12",
            r"a\/\u003Cb\u003E\u00FC\uD83D\uDD12",
        ] {
            let found = forms.iter().any(|form| form[..] == *other.as_bytes());
            assert!(found, "{other}");
        }
    }
}
