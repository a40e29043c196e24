//! How a value is written in different places.
//!
//! Each writer has one way to do it for what is put into requests, and many for what is looked for in answers: programs
//! escape more or fewer characters, with large or small digits.

mod base64;
mod html;
mod json;
mod url;

use zeroize::Zeroizing;

pub(super) use base64::base64;
pub(super) use json::json;
pub(super) use url::{form, percent};

/// Bytes that are wiped.
pub(crate) type Text = Zeroizing<Vec<u8>>;

/// A text of at most `most` bytes. It never grows, because growing would leave a copy behind that nobody wipes.
fn text(most: usize, write: impl FnOnce(&mut Vec<u8>)) -> Text {
    let mut text = Zeroizing::new(Vec::with_capacity(most));
    write(&mut text);
    debug_assert!(text.len() <= most);
    text
}

/// A value in every form that keeps its characters in their order, each once; the value itself is the first.
pub(super) fn forms(value: &[u8]) -> Vec<Text> {
    let plain = text(value.len(), |text| text.extend_from_slice(value));
    let mut forms = vec![plain];
    let written = json::forms(value).chain(url::forms(value));
    for form in written.chain(html::forms(value)) {
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_letters_and_digits_has_one_form() {
        assert_eq!(forms(b"sk-live_51a9c3e7").len(), 1);
    }

    #[test]
    fn no_form_is_there_twice() {
        let forms = forms("a/b\"<c>&'+ ü\u{1f512}".as_bytes());
        for (at, form) in forms.iter().enumerate() {
            assert!(!forms[at + 1..].contains(form), "{form:?}");
        }
        assert!(forms.len() > 30, "{}", forms.len());
    }
}
