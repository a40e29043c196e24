//! What one stream of a process has written and nobody has taken yet.
//!
//! Its memory is of two kinds. While a client is attached it is bounded by the pump, which stops at
//! [`ATTACHED_BYTES`]. What is kept while there is none has a [`Share`] of the budget, and is never larger.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::budget::{Budget, Share};

/// Waiting of each stream while someone is attached, in bytes: enough to fill a message while the last
/// one is on its way.
pub(super) const ATTACHED_BYTES: usize = 256 << 10;
/// The largest piece taken at once, in bytes.
pub(super) const CHUNK_BYTES: usize = 64 << 10;

/// The bytes of one stream, oldest first.
pub(super) struct Buffer {
    ring: VecDeque<u8>,
    share: Share,
}

impl Buffer {
    /// Empty; what is kept in it counts towards this budget.
    pub(super) fn new(budget: Arc<Budget>) -> Self {
        Self {
            ring: VecDeque::new(),
            share: Share::new(budget),
        }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }

    /// Bytes that this takes of the budget.
    pub(super) fn share(&self) -> usize {
        self.share.bytes()
    }

    /// Adds for a client, who is waited for: all of it.
    pub(super) fn push(&mut self, data: &[u8]) {
        if self.ring.len() > ATTACHED_BYTES {
            // A client came to a full ring while the pump was reading: no reason to double it.
            self.ring.reserve_exact(data.len());
        }
        self.ring.extend(data);
    }

    /// Adds for nobody; answers how many bytes, the oldest, were given up.
    ///
    /// With no data it brings what a client has left within the budget.
    pub(super) fn keep(&mut self, data: &[u8]) -> u64 {
        let wanted = self.ring.len() + data.len();
        if wanted > self.share.bytes() {
            // Twice as much each time, so that growing copies little.
            self.share.grow(wanted.next_power_of_two());
        }
        let excess = wanted.saturating_sub(self.share.bytes());
        let old = excess.min(self.ring.len());
        self.ring.drain(..old);
        self.ring.shrink_to(self.share.bytes());
        // Not more than the share, as a ring that grows by itself would take.
        let room = self.share.bytes().saturating_sub(self.ring.len());
        self.ring.reserve_exact(room);
        self.ring.extend(data.get(excess - old..).unwrap_or(&[]));
        excess as u64
    }

    /// Takes the next piece for a client, if there is one.
    pub(super) fn take(&mut self) -> Option<Bytes> {
        // Copied out, so that the ring's memory is reused and a piece holds no more than it shows.
        let (front, _) = self.ring.as_slices();
        let data = Bytes::copy_from_slice(front.get(..CHUNK_BYTES).unwrap_or(front));
        self.ring.drain(..data.len());
        self.settle();
        (!data.is_empty()).then_some(data)
    }

    /// A client is attached: what any attached stream may hold takes no share.
    pub(super) fn settle(&mut self) {
        if self.ring.len() <= ATTACHED_BYTES {
            if self.ring.capacity() > 2 * ATTACHED_BYTES {
                self.ring.shrink_to(ATTACHED_BYTES);
            }
            self.share.shrink(0);
        }
    }

    /// Nothing more will come: takes no more memory than it needs.
    pub(super) fn seal(&mut self) {
        self.ring.shrink_to_fit();
        self.share.shrink(self.ring.len());
    }

    /// Gives everything up; answers how many bytes that were.
    pub(super) fn forget(&mut self) -> u64 {
        let bytes = self.ring.len();
        self.ring = VecDeque::new();
        self.share.shrink(0);
        bytes as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::budget::{MAX_SHARE_BYTES, MIN_SHARE_BYTES};
    use super::*;

    fn budget() -> Arc<Budget> {
        Arc::new(Budget::new(0))
    }

    /// Takes all of the budget but the least share of each of its streams.
    fn exhausted(budget: &Arc<Budget>) -> Vec<Share> {
        let mut shares: Vec<Share> = (0..4).map(|_| Share::new(budget.clone())).collect();
        shares
            .iter_mut()
            .for_each(|share| share.grow(MAX_SHARE_BYTES));
        shares
    }

    fn drain(buffer: &mut Buffer) -> Vec<u8> {
        let pieces = std::iter::from_fn(|| buffer.take());
        let pieces: Vec<Bytes> = pieces.collect();
        assert!(pieces.iter().all(|piece| piece.len() <= CHUNK_BYTES));
        pieces.concat()
    }

    #[test]
    fn the_newest_is_kept_in_no_more_memory_than_the_share() {
        let mut buffer = Buffer::new(budget());
        let mut dropped = 0;
        for number in 0..40_u8 {
            dropped += buffer.keep(&[number; 50_000]);
            assert!(buffer.share() <= MAX_SHARE_BYTES);
            assert!(buffer.ring.capacity() <= buffer.share());
        }
        assert_eq!(dropped, 40 * 50_000 - MAX_SHARE_BYTES as u64);
        let kept = drain(&mut buffer);
        assert_eq!(kept.len(), MAX_SHARE_BYTES);
        assert!(kept.is_sorted() && kept.ends_with(&[39; 50_000]));
        assert_eq!((buffer.share(), buffer.len()), (0, 0));
    }

    #[test]
    fn little_output_takes_little_and_none_takes_nothing() {
        let mut buffer = Buffer::new(budget());
        assert_eq!(buffer.keep(&[]), 0);
        assert_eq!((buffer.share(), buffer.ring.capacity()), (0, 0));
        assert_eq!(buffer.keep(b"hello"), 0);
        assert_eq!(buffer.share(), MIN_SHARE_BYTES);
        buffer.seal();
        assert_eq!(buffer.share(), 5);
        assert_eq!(buffer.forget(), 5);
        assert_eq!((buffer.share(), buffer.ring.capacity()), (0, 0));
    }

    #[test]
    fn without_budget_the_last_page_is_kept() {
        let budget = budget();
        let others = exhausted(&budget);
        let mut buffer = Buffer::new(budget);
        assert_eq!(
            buffer.keep(&[1; CHUNK_BYTES]),
            (CHUNK_BYTES - MIN_SHARE_BYTES) as u64
        );
        assert_eq!(buffer.keep(b"last words"), 10);
        assert_eq!(buffer.len(), MIN_SHARE_BYTES);
        assert_eq!(buffer.ring.capacity(), MIN_SHARE_BYTES);
        drop(others);
        assert_eq!(buffer.keep(&[2; CHUNK_BYTES]), 0, "there is some again");
        let kept = drain(&mut buffer);
        assert_eq!(kept.len(), MIN_SHARE_BYTES + CHUNK_BYTES);
        assert!(kept[..MIN_SHARE_BYTES].ends_with(b"last words"));
    }

    #[test]
    fn what_a_client_leaves_is_brought_within_the_budget() {
        let budget = budget();
        let others = exhausted(&budget);
        let mut buffer = Buffer::new(budget);
        for number in 0..4 {
            buffer.push(&[number; CHUNK_BYTES]);
        }
        assert_eq!(buffer.share(), 0);
        assert_eq!(buffer.keep(&[]), (ATTACHED_BYTES - MIN_SHARE_BYTES) as u64);
        assert_eq!(buffer.ring.capacity(), MIN_SHARE_BYTES);
        assert_eq!(drain(&mut buffer), vec![3; MIN_SHARE_BYTES]);
        drop(others);
        buffer.push(&[7; CHUNK_BYTES]);
        assert_eq!((buffer.keep(&[]), buffer.share()), (0, CHUNK_BYTES));
    }

    #[test]
    fn a_client_that_does_not_read_keeps_the_share_taken() {
        let mut buffer = Buffer::new(budget());
        buffer.keep(&[0; MAX_SHARE_BYTES]);
        buffer.settle();
        assert_eq!(buffer.share(), MAX_SHARE_BYTES);
        while buffer.len() > ATTACHED_BYTES {
            assert_eq!(buffer.share(), MAX_SHARE_BYTES);
            buffer.take();
        }
        assert_eq!(buffer.share(), 0);
        assert!(buffer.ring.capacity() <= 2 * ATTACHED_BYTES);
    }
}
