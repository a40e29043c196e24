//! Finding any of many texts, values among them.
//!
//! A library's automaton would keep the values in tables that nobody wipes. Here they are in memory that
//! is wiped, and what else there is tells their first two bytes. Two bytes are enough to pass over nearly
//! everything else: texts are compared only where some text begins like that.

use std::collections::HashMap;
use std::ops::Range;

use zeroize::Zeroizing;

/// No text is shorter.
const SHORTEST: usize = 2;
/// Pairs of bytes that there are.
const PAIRS: usize = 1 << 16;
const BITS: usize = u64::BITS as usize;

/// Texts to look for, each at least two bytes long, and what each is replaced by.
pub(super) struct Patterns {
    /// In alphabetical order, each with its index. Those that begin alike are side by side, and the shorter ones first:
    /// what begins like the bytes at a place is a range, which each byte more makes smaller.
    sorted: Vec<(Zeroizing<Vec<u8>>, usize)>,
    by_start: HashMap<[u8; SHORTEST], Range<usize>>,
    /// Which two bytes begin a text, a bit for each pair; and which byte.
    starts: Box<[u64]>,
    firsts: [bool; 256],
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
        let mut patterns = Self {
            by_start: HashMap::new(),
            starts: vec![0; PAIRS / BITS].into_boxed_slice(),
            firsts: [false; 256],
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
        for (at, two) in bytes.windows(SHORTEST).enumerate() {
            let two = two.first_chunk().copied().unwrap_or_default();
            let (word, bit) = place(two);
            if self.starts.get(word).is_some_and(|word| word & bit != 0)
                && let Some(found) = self.at(bytes.get(at..).unwrap_or_default(), two, last)
            {
                return Some((at, found));
            }
        }
        let end = bytes.last().filter(|_| !last)?;
        let open = self
            .firsts
            .get(usize::from(*end))
            .is_some_and(|known| *known);
        open.then(|| (bytes.len() - 1, Found::Open))
    }

    fn at(&self, rest: &[u8], start: [u8; SHORTEST], last: bool) -> Option<Found> {
        let mut alike = self.sorted.get(self.by_start.get(&start)?.clone())?;
        let mut found = None;
        for length in SHORTEST.. {
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
