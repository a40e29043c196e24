//! Finding any of many texts, values among them.
//!
//! A library's automaton would keep the values in tables that nobody wipes. Here they are in memory that
//! is wiped, and what else there is tells their first two bytes. Two bytes are enough to pass over nearly
//! everything else: texts are compared only where some text begins like that.

use std::collections::HashMap;

use zeroize::Zeroizing;

/// No text is shorter.
const SHORTEST: usize = 2;
/// Pairs of bytes that there are.
const PAIRS: usize = 1 << 16;
const BITS: usize = u64::BITS as usize;

/// Texts to look for, each at least two bytes long, and what each is replaced by.
pub(super) struct Patterns {
    /// By their first two bytes; the longest first.
    by_start: HashMap<[u8; SHORTEST], Vec<usize>>,
    /// Which two bytes begin a text, a bit for each pair; and which byte.
    starts: Box<[u64]>,
    firsts: [bool; 256],
    texts: Vec<Zeroizing<Vec<u8>>>,
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
        let (mut by_start, mut firsts) = (HashMap::<_, Vec<usize>>::new(), [false; 256]);
        let mut starts = vec![0; PAIRS / BITS].into_boxed_slice();
        for (index, text) in texts.iter().enumerate() {
            let Some(start) = text.first_chunk() else {
                continue;
            };
            by_start.entry(*start).or_default().push(index);
            let (word, bit) = place(*start);
            if let Some(word) = starts.get_mut(word) {
                *word |= bit;
            }
            if let Some(first) = firsts.get_mut(usize::from(start[0])) {
                *first = true;
            }
        }
        let length = |index: &usize| texts.get(*index).map_or(0, |text| text.len());
        for indices in by_start.values_mut() {
            // Stable, so that the first of equal ones stays first.
            indices.sort_by_key(|index| std::cmp::Reverse(length(index)));
        }
        Self {
            by_start,
            starts,
            firsts,
            texts,
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
        for index in self.by_start.get(&start)? {
            let text = self.texts.get(*index)?;
            if rest.starts_with(text) {
                return Some(Found::Text {
                    index: *index,
                    length: text.len(),
                });
            }
            if !last && text.starts_with(rest) {
                return Some(Found::Open);
            }
        }
        None
    }
}

/// Where a pair's bit is: which word, and which bit of it.
fn place(two: [u8; SHORTEST]) -> (usize, u64) {
    let pair = usize::from(u16::from_be_bytes(two));
    (pair / BITS, 1 << (pair % BITS))
}
