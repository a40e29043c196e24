//! Within HTML or XML.

use super::Text;

/// A character becomes six at most.
const GROWTH: usize = 6;

/// How quotation marks and apostrophes are written.
const QUOTES: &[(&str, &str)] = &[
    ("&quot;", "&#39;"),
    ("&quot;", "&#x27;"),
    ("&quot;", "&#039;"),
    ("&quot;", "&apos;"),
    ("&quot;", "'"),
    ("&#34;", "&#39;"),
    ("\"", "'"),
];

/// Every way that is looked for.
pub(super) fn forms(value: &[u8]) -> impl Iterator<Item = Text> {
    QUOTES
        .iter()
        .map(|(quote, apostrophe)| written(value, quote, apostrophe))
}

fn written(value: &[u8], quote: &str, apostrophe: &str) -> Text {
    super::text(GROWTH * value.len(), |text| {
        for byte in value {
            match byte {
                b'&' => text.extend_from_slice(b"&amp;"),
                b'<' => text.extend_from_slice(b"&lt;"),
                b'>' => text.extend_from_slice(b"&gt;"),
                b'"' => text.extend_from_slice(quote.as_bytes()),
                b'\'' => text.extend_from_slice(apostrophe.as_bytes()),
                other => text.push(*other),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_is_among_the_forms() {
        let forms: Vec<_> = forms(b"<a&'b'\">").collect();
        for other in [
            "&lt;a&amp;&#39;b&#39;&quot;&gt;",
            "&lt;a&amp;&#x27;b&#x27;&quot;&gt;",
            "&lt;a&amp;'b'\"&gt;",
        ] {
            let found = forms.iter().any(|form| form[..] == *other.as_bytes());
            assert!(found, "{other}");
        }
    }
}
