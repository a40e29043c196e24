//! Rewriting a stream, chunk by chunk.

use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::patterns::{Found, Patterns};
use super::transform::Transform;

/// Replaces texts. `R` says by what; where it has nothing, the text stays.
pub(super) struct Replacing<R> {
    patterns: Arc<Patterns>,
    replacement: R,
    /// What may be the beginning of a text: nothing, mostly.
    held: Option<Zeroizing<Vec<u8>>>,
}

impl<R> Replacing<R>
where
    R: FnMut(usize) -> Option<Zeroizing<Vec<u8>>>,
{
    pub(super) fn new(patterns: Arc<Patterns>, replacement: R) -> Self {
        Self {
            patterns,
            replacement,
            held: None,
        }
    }

    /// All of a text at once, in which something was found; nothing, if it stays what it is.
    pub(super) fn whole(&mut self, text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
        self.pass(text, true, &mut out);
        (out[..] != *text).then_some(out)
    }

    fn hold(&mut self, rest: &[u8]) {
        self.held = (!rest.is_empty()).then(|| Zeroizing::new(rest.to_vec()));
    }

    /// Passes on what is decided; gives the length of what was.
    fn pass(&mut self, bytes: &[u8], last: bool, out: &mut Vec<u8>) -> usize {
        let mut rest = bytes;
        loop {
            let (before, found) = match self.patterns.find(rest, last) {
                Some((at, found)) => (at, Some(found)),
                None => (rest.len(), None),
            };
            out.extend_from_slice(rest.get(..before).unwrap_or_default());
            rest = rest.get(before..).unwrap_or_default();
            let Some(Found::Text { index, length }) = found else {
                return bytes.len() - rest.len();
            };
            let (text, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            match (self.replacement)(index) {
                Some(other) => out.extend_from_slice(&other),
                None => out.extend_from_slice(text),
            }
            rest = after;
        }
    }
}

impl<R> Transform for Replacing<R>
where
    R: FnMut(usize) -> Option<Zeroizing<Vec<u8>>> + Send,
{
    fn feed(&mut self, chunk: Bytes) -> Bytes {
        let held = self.held.take();
        if held.is_none() {
            // Nearly every chunk goes on as it is.
            match self.patterns.find(&chunk, false) {
                None => return chunk,
                Some((at, Found::Open)) => {
                    self.hold(chunk.get(at..).unwrap_or_default());
                    return chunk.slice(..at);
                }
                Some((_, Found::Text { .. })) => {}
            }
        }
        let mut all = held.unwrap_or_default();
        all.extend_from_slice(&chunk);
        let mut out = Vec::with_capacity(all.len());
        let passed = self.pass(&all, false, &mut out);
        self.hold(all.get(passed..).unwrap_or_default());
        out.into()
    }

    fn finish(&mut self) -> Bytes {
        let Some(held) = self.held.take() else {
            return Bytes::new();
        };
        let mut out = Vec::new();
        self.pass(&held, true, &mut out);
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replacing(
        pairs: &[(&[u8], &[u8])],
    ) -> Replacing<impl FnMut(usize) -> Option<Zeroizing<Vec<u8>>> + use<>> {
        let texts = pairs
            .iter()
            .map(|(text, _)| Zeroizing::new(text.to_vec()))
            .collect();
        let others: Vec<Vec<u8>> = pairs.iter().map(|(_, other)| other.to_vec()).collect();
        Replacing::new(Arc::new(Patterns::new(texts)), move |index| {
            Some(Zeroizing::new(others[index].clone()))
        })
    }

    fn in_chunks(pairs: &[(&[u8], &[u8])], text: &[u8], size: usize) -> Vec<u8> {
        let mut stream = replacing(pairs);
        let mut out: Vec<u8> = text
            .chunks(size.max(1))
            .flat_map(|chunk| stream.feed(Bytes::copy_from_slice(chunk)))
            .collect();
        out.extend_from_slice(&stream.finish());
        out
    }

    #[test]
    fn the_longest_of_the_first_is_replaced() {
        let pairs: &[(&[u8], &[u8])] = &[
            (b"abc", b"1"),
            (b"abcdef", b"2"),
            (b"cd", b"3"),
            (b"abc", b"4"),
        ];
        for (text, result) in [
            ("abc", "1"),
            ("abcdef", "2"),
            ("abcdeabcdef", "1de2"),
            ("xcdx", "x3x"),
            ("ab", "ab"),
            ("aabcdabcdefab", "a1d2ab"),
        ] {
            for size in 1..=text.len() {
                let out = in_chunks(pairs, text.as_bytes(), size);
                assert_eq!(String::from_utf8_lossy(&out), result, "{text} by {size}");
            }
        }
    }

    #[test]
    fn only_what_may_go_on_is_held_back() {
        let mut stream = replacing(&[(b"secret", b"x")]);
        assert_eq!(
            stream.feed(Bytes::from_static(b"data: event\n\n")),
            &b"data: event\n\n"[..]
        );
        assert_eq!(stream.feed(Bytes::from_static(b"a sec")), &b"a "[..]);
        assert_eq!(stream.feed(Bytes::from_static(b"ond")), &b"second"[..]);
    }

    #[test]
    fn any_chunks_give_the_same() {
        bolero::check!()
            .with_test_time(std::time::Duration::from_secs(1))
            .with_type::<(Vec<Vec<u8>>, Vec<u8>, u8)>()
            .for_each(|(texts, bytes, size)| {
                // Few different bytes, so that something is found.
                let small = |bytes: &[u8]| bytes.iter().map(|b| b % 3).collect::<Vec<u8>>();
                let texts: Vec<_> = texts.iter().take(5).map(|text| small(text)).collect();
                let pairs: Vec<(&[u8], &[u8])> =
                    texts.iter().map(|text| (&text[..], &b"-"[..])).collect();
                let bytes = small(bytes);
                let whole = in_chunks(&pairs, &bytes, bytes.len());
                assert_eq!(in_chunks(&pairs, &bytes, (*size).into()), whole);
                if texts
                    .iter()
                    .all(|text| text.len() < 2 || !bytes.windows(text.len()).any(|w| w == text))
                {
                    assert_eq!(whole, bytes);
                }
                for text in texts.iter().filter(|text| text.len() >= 2) {
                    assert!(
                        !whole.windows(text.len()).any(|w| w == text),
                        "{text:?} is left"
                    );
                }
            });
    }
}
