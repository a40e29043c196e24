//! A set of blocks, in memory: one bit each, in leaves that exist only where a bit is set.

use std::ops::Range;

const WORD_BITS: u64 = 64;
/// Words of a leaf, which is 4 KiB long.
pub(super) const LEAF_WORDS: usize = 512;
/// Blocks of a leaf.
pub(super) const LEAF_BLOCKS: u64 = LEAF_WORDS as u64 * WORD_BITS;

pub(super) type Leaf = [u64; LEAF_WORDS];

/// Which blocks of a disk are in a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blocks {
    /// How many the disk has; the set holds only smaller numbers.
    len: u64,
    leaves: Vec<Option<Box<Leaf>>>,
}

impl Blocks {
    /// None of `len` blocks.
    pub fn new(len: u64) -> Self {
        let leaves = len.div_ceil(LEAF_BLOCKS) as usize;
        Self {
            len,
            leaves: vec![None; leaves],
        }
    }

    /// How many blocks the disk has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether `block` is in the set.
    pub fn contains(&self, block: u64) -> bool {
        self.word(block / WORD_BITS) >> (block % WORD_BITS) & 1 == 1
    }

    /// The first block after `start` whose membership differs from that of `start`, or `limit`.
    pub fn run_end(&self, start: u64, limit: u64) -> u64 {
        let limit = limit.min(self.len);
        let members = if self.contains(start) { u64::MAX } else { 0 };
        let mut block = start;
        while block < limit {
            if members == 0 && self.leaf(block / LEAF_BLOCKS).is_none() {
                block = (block / LEAF_BLOCKS + 1) * LEAF_BLOCKS;
                continue;
            }
            let others = (self.word(block / WORD_BITS) ^ members) >> (block % WORD_BITS);
            if others != 0 {
                return limit.min(block + u64::from(others.trailing_zeros()));
            }
            block = (block / WORD_BITS + 1) * WORD_BITS;
        }
        limit
    }

    /// The runs of members within `range`.
    pub fn runs(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let (mut at, limit) = (range.start, range.end.min(self.len));
        std::iter::from_fn(move || {
            if at < limit && !self.contains(at) {
                at = self.run_end(at, limit);
            }
            if at >= limit {
                return None;
            }
            let start = at;
            at = self.run_end(start, limit);
            Some(start..at)
        })
    }

    /// Adds the blocks of `range`.
    pub fn insert(&mut self, range: Range<u64>) {
        self.change(range, |leaves, word, mask| {
            if let Some(leaf) = leaves.get_mut(word / LEAF_WORDS) {
                let leaf = leaf.get_or_insert_with(|| Box::new([0; LEAF_WORDS]));
                leaf[word % LEAF_WORDS] |= mask;
            }
        });
    }

    /// Takes the blocks of `range` out.
    pub fn remove(&mut self, range: Range<u64>) {
        self.change(range, |leaves, word, mask| {
            if let Some(Some(leaf)) = leaves.get_mut(word / LEAF_WORDS) {
                leaf[word % LEAF_WORDS] &= !mask;
            }
        });
    }

    /// Adds all blocks of `other`, which is of the same disk.
    pub fn insert_all(&mut self, other: &Self) {
        for run in other.runs(0..other.len) {
            self.insert(run);
        }
    }

    /// Leaves that have a bit, ascending.
    pub fn leaves(&self) -> impl Iterator<Item = (u64, &Leaf)> {
        let leaves = self.leaves.iter().map(Option::as_deref).zip(0..);
        leaves
            .filter_map(|(leaf, number)| Some((number, leaf?)))
            .filter(|(_, leaf)| leaf.iter().any(|word| *word != 0))
    }

    /// Puts a leaf in its place; `false` when the disk has no such leaf.
    pub fn set_leaf(&mut self, number: u64, leaf: Leaf) -> bool {
        let place = usize::try_from(number)
            .ok()
            .and_then(|number| self.leaves.get_mut(number));
        match place {
            Some(place) => *place = Some(Box::new(leaf)),
            None => return false,
        }
        true
    }

    fn leaf(&self, number: u64) -> Option<&Leaf> {
        self.leaves.get(number as usize)?.as_deref()
    }

    fn word(&self, number: u64) -> u64 {
        let leaf = self.leaf(number / LEAF_WORDS as u64);
        leaf.map_or(0, |leaf| leaf[number as usize % LEAF_WORDS])
    }

    /// Calls `change` with every word that `range` touches, and the bits of it.
    fn change(&mut self, range: Range<u64>, change: impl Fn(&mut [Option<Box<Leaf>>], usize, u64)) {
        let end = range.end.min(self.len);
        let mut block = range.start;
        while block < end {
            let word = block / WORD_BITS;
            let next = end.min((word + 1) * WORD_BITS);
            let ones = u64::MAX >> (WORD_BITS - (next - block));
            change(&mut self.leaves, word as usize, ones << (block % WORD_BITS));
            block = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEN: u64 = 2 * LEAF_BLOCKS + 777;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn behaves_like_a_vector_of_booleans(
            changes in prop::collection::vec((any::<bool>(), 0..LEN + 99, 0u64..40_000), 0..20),
        ) {
            let mut blocks = Blocks::new(LEN);
            let mut model = vec![false; LEN as usize];
            for (insert, start, len) in changes {
                let range = start..start + len;
                for block in range.clone().take_while(|block| *block < LEN) {
                    model[block as usize] = insert;
                }
                if insert { blocks.insert(range) } else { blocks.remove(range) }
            }
            for block in 0..LEN {
                prop_assert_eq!(blocks.contains(block), model[block as usize]);
            }
            let mut from_runs = vec![false; LEN as usize];
            for run in blocks.runs(0..LEN) {
                prop_assert!(run.start < run.end);
                from_runs[run.start as usize..run.end as usize].fill(true);
            }
            prop_assert_eq!(from_runs, model);
        }
    }
}
