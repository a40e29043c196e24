//! [`Redactor`]: values that come back become placeholders again.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use super::encode::{self, Text};
use super::patterns::Patterns;
use super::stream::Replacing;
use super::transform::Transform;
use crate::secrets::{Placeholder, Secret, SecretValue};

/// Finds the values of a sandbox's secrets, in all forms.
#[derive(Clone)]
pub(crate) struct Redactor {
    patterns: Arc<Patterns>,
    replacements: Arc<[Replacement]>,
    /// Looks at what this one passes on.
    next: Option<Arc<Redactor>>,
}

struct Replacement {
    text: Box<[u8]>,
    /// Of what it replaces.
    length: usize,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redactor").finish_non_exhaustive()
    }
}

/// What may change in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lengths {
    /// A value becomes its placeholder.
    Free,
    /// Lengths stay: what is read is a format with lengths in it that nobody here knows, such as gRPC's
    /// messages. A value becomes as much of its placeholder as there is room for.
    Kept,
}

impl Redactor {
    pub(crate) fn new(secrets: &[Arc<Secret>]) -> Self {
        let forms = |secret: &Arc<Secret>| forms(secret.value(), secret.placeholder());
        Self::of(secrets.iter().flat_map(forms))
    }

    /// One that looks for another value that a placeholder stands for.
    pub(crate) fn of_value(value: &SecretValue, placeholder: &Placeholder) -> Self {
        Self::of(forms(value, placeholder).into_iter())
    }

    /// This one, and the others on what it passes on.
    pub(crate) fn before(&self, others: Arc<Self>) -> Self {
        let next = match &self.next {
            None => others,
            Some(next) => Arc::new(next.before(others)),
        };
        Self {
            next: Some(next),
            ..self.clone()
        }
    }

    /// One that looks for these texts.
    pub(crate) fn of_sent(sent: Vec<(Text, Vec<u8>)>) -> Self {
        Self::of(sent.into_iter())
    }

    fn of(forms: impl Iterator<Item = (Text, Vec<u8>)>) -> Self {
        let (mut texts, mut replacements) = (Vec::new(), Vec::new());
        for (text, other) in forms {
            replacements.push(Replacement {
                text: other.into(),
                length: text.len(),
            });
            texts.push(text);
        }
        Self {
            patterns: Arc::new(Patterns::new(texts)),
            replacements: replacements.into(),
            next: None,
        }
    }

    /// Redacts a stream.
    pub(crate) fn stream(&self, lengths: Lengths) -> Box<dyn Transform> {
        let this = Box::new(self.replacing(lengths));
        match &self.next {
            None => this,
            Some(next) => Box::new(Chain(this, next.stream(lengths))),
        }
    }

    /// Redacts every value in a map.
    pub(crate) fn headers(&self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            // As in nearly every one.
            if self.patterns.find(value.as_bytes(), true).is_none() {
                continue;
            }
            if let Some(redacted) = self.replacing(Lengths::Free).whole(value.as_bytes()) {
                // A placeholder is of characters that every header may have.
                *value = HeaderValue::from_bytes(&redacted).unwrap_or(HeaderValue::from_static(""));
            }
        }
        if let Some(next) = &self.next {
            next.headers(headers);
        }
    }

    fn replacing(
        &self,
        lengths: Lengths,
    ) -> Replacing<impl FnMut(usize) -> Option<Text> + Send + use<>> {
        let replacements = self.replacements.clone();
        Replacing::new(self.patterns.clone(), move |index| {
            let replacement = replacements.get(index)?;
            let mut text = replacement.text.to_vec();
            if lengths == Lengths::Kept {
                text.resize(replacement.length, b'_');
            }
            Some(Zeroizing::new(text))
        })
    }
}

/// One stream's rewriting after another's.
struct Chain(Box<dyn Transform>, Box<dyn Transform>);

impl Transform for Chain {
    fn feed(&mut self, chunk: Bytes) -> Bytes {
        self.1.feed(self.0.feed(chunk))
    }

    fn finish(&mut self) -> Bytes {
        let rest = self.1.feed(self.0.finish());
        [rest, self.1.finish()].concat().into()
    }

    fn more(&mut self) -> Option<Bytes> {
        let first = self.0.more().map(|more| self.1.feed(more));
        first.or_else(|| self.1.more())
    }

    fn failed(&self) -> bool {
        self.0.failed() || self.1.failed()
    }
}

/// A value in every form that is looked for, and what each becomes.
///
/// Base64 is found at every alignment; what comes before a value that is not the beginning shares a
/// character with it, which is left: four bits of the value at most at either end.
fn forms(value: &SecretValue, placeholder: &Placeholder) -> Vec<(Text, Vec<u8>)> {
    let (value, placeholder) = (value.expose(), placeholder.as_str().as_bytes());
    let mut forms: Vec<_> = encode::forms(value)
        .into_iter()
        .map(|text| (text, placeholder.to_vec()))
        .collect();
    for before in 0..3 {
        let [encoded, ..] = encode::base64(placeholder, 0);
        let texts = encode::base64(value, before).into_iter();
        forms.extend(texts.map(|text| (text, encoded.to_vec())));
    }
    let hex = Zeroizing::new(hex::encode(value).into_bytes());
    let upper = Zeroizing::new(hex.to_ascii_uppercase());
    let encoded = hex::encode(placeholder).into_bytes();
    forms.extend([hex, upper].map(|text| (text, encoded.clone())));
    forms
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::testing::secret;

    const VALUE: &str = "sk-live/\"7f+ü' &";

    fn redact(lengths: Lengths, bytes: &[u8]) -> Vec<u8> {
        let secrets = [Arc::new(secret("KEY", VALUE, "a.example"))];
        let redactor = Redactor::new(&secrets);
        let mut whole = redactor.stream(lengths);
        let whole = [whole.feed(Bytes::copy_from_slice(bytes)), whole.finish()].concat();
        for size in [1, 2, 3, 7] {
            let mut stream = redactor.stream(lengths);
            let mut out: Vec<u8> = bytes
                .chunks(size)
                .flat_map(|chunk| stream.feed(Bytes::copy_from_slice(chunk)))
                .collect();
            out.extend_from_slice(&stream.finish());
            assert_eq!(out, whole);
        }
        whole
    }

    #[test]
    fn every_form_becomes_a_placeholder() {
        for form in [
            VALUE.to_owned(),
            serde_json::to_string(VALUE).unwrap(),
            serde_json::to_string(VALUE).unwrap().replace('/', "\\/"),
            "sk-live%2F%227f%2B%C3%BC%27%20%26".into(),
            "sk-live%2f%227f%2b%c3%bc%27%20%26".into(),
            "sk-live%2F%227f%2B%C3%BC%27+%26".into(),
            "sk-live/&quot;7f+ü&#39; &amp;".into(),
            r#"sk-live/\"7f+\u00fc\u0027 \u0026"#.into(),
            r#"sk-live\/\"7f+\u00FC' &"#.into(),
            "sk-live/%227f+%C3%BC'%20&".into(),
        ] {
            let out = redact(Lengths::Free, format!("<{form}>").as_bytes());
            let out = String::from_utf8(out).unwrap();
            assert!(out.contains("DENO_SECRET_PLACEHOLDER_"), "{form}: {out}");
            assert!(!out.contains("live"), "{form}: {out}");
        }
    }

    #[test]
    fn base64_and_hex_of_it_are_found() {
        for before in ["", "u", "us", "user:"] {
            for after in ["", "x", "xyz"] {
                let text = STANDARD.encode(format!("{before}{VALUE}{after}"));
                let out = redact(Lengths::Free, text.as_bytes());
                let out = String::from_utf8(out).unwrap();
                let inner = &STANDARD.encode(format!("{before}{VALUE}"))[before.len() + 4..20];
                assert!(!out.contains(inner), "{before} {after}: {out}");
            }
        }
        let alone = redact(Lengths::Free, STANDARD.encode(VALUE).as_bytes());
        let alone = String::from_utf8(alone).unwrap();
        let decoded = STANDARD.decode(alone.trim_end_matches('=').to_owned() + "=");
        assert!(decoded.unwrap().starts_with(b"DENO_SECRET_PLACEHOLDER_"));
        let out = redact(Lengths::Free, hex::encode_upper(VALUE).as_bytes());
        assert!(
            hex::decode(out)
                .unwrap()
                .starts_with(b"DENO_SECRET_PLACEHOLDER_")
        );
    }

    #[test]
    fn lengths_can_be_kept() {
        let bytes = format!("\0\0\0\0\x20{VALUE}rest");
        let out = redact(Lengths::Kept, bytes.as_bytes());
        assert_eq!(out.len(), bytes.len());
        assert!(!String::from_utf8_lossy(&out).contains("live"));
    }

    #[test]
    fn other_bytes_stay() {
        let bytes: Vec<u8> = (0..100_000_u32)
            .map(|n| (n.wrapping_mul(n) >> 3) as u8)
            .collect();
        assert_eq!(redact(Lengths::Free, &bytes), bytes);
    }

    /// Whole forms, beginnings of forms and other bytes, one after the other.
    fn mixed(forms: &[(Text, Vec<u8>)], parts: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (which, length, other) in parts.iter().take(20) {
            let (form, _) = &forms[usize::from(*which) % forms.len()];
            bytes.extend_from_slice(&form[..form.len().min(usize::from(*length))]);
            bytes.extend_from_slice(other);
        }
        bytes
    }

    #[test]
    fn any_chunks_give_the_same() {
        let secrets = [
            Arc::new(secret("KEY", VALUE, "a.example")),
            Arc::new(secret("LONGER", &format!("{VALUE}and more"), "a.example")),
        ];
        let redactor = Redactor::new(&secrets);
        let forms = forms(secrets[0].value(), secrets[0].placeholder());
        let run = |bytes: &[u8], sizes: &[u8], lengths| {
            let mut stream = redactor.stream(lengths);
            let (mut rest, mut out, mut sizes) = (bytes, Vec::new(), sizes.iter().cycle());
            while !rest.is_empty() {
                let size = sizes
                    .next()
                    .map_or(rest.len(), |size| usize::from(*size) + 1);
                let (chunk, after) = rest.split_at(size.min(rest.len()));
                out.extend_from_slice(&stream.feed(Bytes::copy_from_slice(chunk)));
                rest = after;
            }
            out.extend_from_slice(&stream.finish());
            out
        };
        bolero::check!()
            .with_test_time(std::time::Duration::from_secs(1))
            .with_type::<(Vec<(u8, u8, Vec<u8>)>, Vec<u8>)>()
            .for_each(|(parts, sizes)| {
                let bytes = mixed(&forms, parts);
                for lengths in [Lengths::Free, Lengths::Kept] {
                    let whole = run(&bytes, &[], lengths);
                    assert_eq!(run(&bytes, sizes, lengths), whole);
                    assert!(!whole.windows(VALUE.len()).any(|w| w == VALUE.as_bytes()));
                }
            });
    }
}
