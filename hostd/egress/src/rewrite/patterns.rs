//! Finding any of many texts, values among them.
//!
//! A library's automaton would keep the values in tables that nobody wipes. Here they are in memory that
//! is wiped, and what else there is tells their first three bytes. These are enough to pass over nearly
//! everything else, many bytes at a time (the crate's "packed" search): texts are compared only where some
//! text begins like that.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use aho_corasick::Span;
use aho_corasick::packed::{Config, Searcher};
use zeroize::Zeroizing;

/// No text is shorter.
const SHORTEST: usize = 2;
/// As many bytes tell where a text may begin.
const PREFIX: usize = 3;
/// Pairs of bytes that there are.
const PAIRS: usize = 1 << 16;
const BITS: usize = u64::BITS as usize;

/// Texts to look for, each at least two bytes long, and what each is replaced by.
pub(super) struct Patterns {
    /// In alphabetical order, each with its index. Those that begin alike are side by side, and the shorter ones first:
    /// what begins like the bytes at a place is a range, which each byte more makes smaller.
    sorted: Vec<(Zeroizing<Vec<u8>>, usize)>,
    /// The length of the shortest.
    shortest: usize,
    by_start: HashMap<[u8; SHORTEST], Range<usize>>,
    /// Which two bytes begin a text, a bit for each pair; and which byte.
    starts: Box<[u64]>,
    firsts: [bool; 256],
    /// Finds all beginnings at once, where the processor can, there are not too many, and none is shorter.
    beginnings: Option<Searcher>,
}

/// What is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The text with this index, which is so long.
    Text { index: usize, length: usize },
    /// It depends on what follows.
    Open,
}

impl Patterns {
    /// Looks for these. Texts that are too short are never found; of two equal ones, the first is.
    pub(super) fn new(texts: Vec<Zeroizing<Vec<u8>>>) -> Self {
        let mut sorted: Vec<_> = texts.into_iter().zip(0..).collect();
        sorted.retain(|(text, _)| text.len() >= SHORTEST);
        // Moves pointers to the texts, and copies none. By index, too, so that the first of equal ones stays first.
        sorted.sort_unstable_by(|(one, a), (other, b)| (&one[..], a).cmp(&(&other[..], b)));
        sorted.dedup_by(|(later, _), (first, _)| later == first);
        let mut patterns = Self {
            by_start: HashMap::new(),
            starts: vec![0; PAIRS / BITS].into_boxed_slice(),
            firsts: [false; 256],
            beginnings: searcher(&sorted),
            shortest: sorted
                .iter()
                .map(|(text, _)| text.len())
                .min()
                .unwrap_or(usize::MAX),
            sorted,
        };
        patterns.note_starts();
        patterns
    }

    fn note_starts(&mut self) {
        for (at, (text, _)) in self.sorted.iter().enumerate() {
            let Some(start) = text.first_chunk() else {
                continue;
            };
            self.by_start.entry(*start).or_insert(at..at).end = at + 1;
            let (word, bit) = place(*start);
            if let Some(word) = self.starts.get_mut(word) {
                *word |= bit;
            }
            if let Some(first) = self.firsts.get_mut(usize::from(start[0])) {
                *first = true;
            }
        }
    }

    /// The first place in `bytes` where something is: the longest text there. `last`: nothing follows.
    pub(super) fn find(&self, bytes: &[u8], last: bool) -> Option<(usize, Found)> {
        // As most values of headers are.
        if last && bytes.len() < self.shortest {
            return None;
        }
        let mut from = 0;
        while let Some(at) = self.candidate(bytes, from) {
            if let Some(found) = self.at(bytes.get(at..).unwrap_or_default(), last) {
                return Some((at, found));
            }
            from = at + 1;
        }
        let end = bytes.last().filter(|_| !last)?;
        let open = self
            .firsts
            .get(usize::from(*end))
            .is_some_and(|known| *known);
        open.then(|| (bytes.len() - 1, Found::Open))
    }

    /// The next place, with two bytes at least behind it, where a text may begin.
    fn candidate(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let Some(beginnings) = &self.beginnings else {
            return self.pair(bytes, from);
        };
        let whole = beginnings.find_in(bytes, Span::from(from..bytes.len()));
        // At the end there may be one that is cut off.
        let rest = from.max((bytes.len() + 1).saturating_sub(PREFIX));
        whole.map_or_else(|| self.pair(bytes, rest), |found| Some(found.start()))
    }

    /// The same by two bytes alone.
    fn pair(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let begins = |two: &[u8]| {
            let (word, bit) = place(two.first_chunk().copied().unwrap_or_default());
            self.starts.get(word).is_some_and(|word| word & bit != 0)
        };
        let mut pairs = bytes.get(from..)?.windows(SHORTEST);
        pairs.position(begins).map(|at| from + at)
    }

    fn at(&self, rest: &[u8], last: bool) -> Option<Found> {
        let mut alike = self
            .sorted
            .get(self.by_start.get(rest.first_chunk()?)?.clone())?;
        let mut found = None;
        for length in SHORTEST.. {
            // Where only one is left, many bytes are compared at once.
            if let [(text, index)] = alike {
                return only(text, *index, rest, last).or(found);
            }
            if let Some((text, index)) = alike.first().filter(|(text, _)| text.len() == length) {
                let (index, length) = (*index, text.len());
                found = Some(Found::Text { index, length });
                alike = after(alike, |text| text.len() == length);
            }
            if alike.is_empty() {
                break;
            }
            let Some(byte) = rest.get(length) else {
                return if last { found } else { Some(Found::Open) };
            };
            // All are longer than `length` now, and begin with as many bytes of `rest`.
            alike = after(alike, |text| text.get(length) < Some(byte));
            let end = alike.partition_point(|(text, _)| text.get(length) == Some(byte));
            alike = alike.get(..end).unwrap_or_default();
        }
        found
    }
}

/// What is at a place where nothing but this text may be.
fn only(text: &[u8], index: usize, rest: &[u8], last: bool) -> Option<Found> {
    if rest.starts_with(text) {
        let length = text.len();
        return Some(Found::Text { index, length });
    }
    (!last && text.starts_with(rest)).then_some(Found::Open)
}

fn searcher(texts: &[(Zeroizing<Vec<u8>>, usize)]) -> Option<Searcher> {
    let prefixes = texts.iter().map(|(text, _)| text.get(..PREFIX));
    let prefixes: BTreeSet<&[u8]> = prefixes.collect::<Option<_>>()?;
    Config::new().builder().extend(prefixes).build()
}

/// What comes after those that are like that.
fn after(
    texts: &[(Zeroizing<Vec<u8>>, usize)],
    are: impl Fn(&[u8]) -> bool,
) -> &[(Zeroizing<Vec<u8>>, usize)] {
    let end = texts.partition_point(|(text, _)| are(text));
    texts.get(end..).unwrap_or_default()
}

/// Where a pair's bit is: which word, and which bit of it.
fn place(two: [u8; SHORTEST]) -> (usize, u64) {
    let pair = usize::from(u16::from_be_bytes(two));
    (pair / BITS, 1 << (pair % BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`Patterns::find`] says, looked for text by text at each place.
    fn slowly(texts: &[Vec<u8>], bytes: &[u8], last: bool) -> Option<(usize, Found)> {
        let texts = || {
            texts
                .iter()
                .enumerate()
                .filter(|(_, t)| t.len() >= SHORTEST)
        };
        (0..bytes.len()).find_map(|at| {
            let rest = &bytes[at..];
            let goes_on = |text: &[u8]| text.len() > rest.len() && text.starts_with(rest);
            if !last && texts().any(|(_, text)| goes_on(text)) {
                return Some((at, Found::Open));
            }
            let here = texts().filter(|(_, text)| rest.starts_with(text));
            let (index, text) =
                here.max_by_key(|(index, text)| (text.len(), usize::MAX - index))?;
            let length = text.len();
            Some((at, Found::Text { index, length }))
        })
    }

    #[test]
    fn the_same_is_found_as_by_looking_for_each_text_at_each_place() {
        bolero::check!()
            .with_test_time(std::time::Duration::from_secs(1))
            .with_type::<(Vec<Vec<u8>>, Vec<u8>, bool)>()
            .for_each(|(texts, bytes, last)| {
                // Few different bytes, so that something is found.
                let small = |bytes: &[u8]| bytes.iter().map(|b| b % 3).collect::<Vec<u8>>();
                let texts: Vec<_> = texts.iter().take(6).map(|text| small(text)).collect();
                let bytes = small(bytes);
                let patterns = Patterns::new(texts.iter().cloned().map(Zeroizing::new).collect());
                assert_eq!(
                    patterns.find(&bytes, *last),
                    slowly(&texts, &bytes, *last),
                    "{texts:?} in {bytes:?}"
                );
            });
    }
}
