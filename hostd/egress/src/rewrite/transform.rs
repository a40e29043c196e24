//! What rewrites a stream as it passes.

use bytes::Bytes;

/// A stream's rewriting: the same result however the stream is cut into chunks.
pub(crate) trait Transform: Send {
    /// What can go on after this chunk.
    fn feed(&mut self, chunk: Bytes) -> Bytes;

    /// What else can go on, a part of a bounded size at a time, until there is none. Called before more is
    /// fed: a few bytes that stand for many are not unfolded at once.
    fn more(&mut self) -> Option<Bytes> {
        None
    }

    /// What was held back until the end.
    fn finish(&mut self) -> Bytes;

    /// Whether what was fed makes no sense; the stream is to be broken off then.
    fn failed(&self) -> bool {
        false
    }
}

impl Transform for Box<dyn Transform> {
    fn feed(&mut self, chunk: Bytes) -> Bytes {
        (**self).feed(chunk)
    }

    fn more(&mut self) -> Option<Bytes> {
        (**self).more()
    }

    fn finish(&mut self) -> Bytes {
        (**self).finish()
    }

    fn failed(&self) -> bool {
        (**self).failed()
    }
}

/// Changes nothing.
pub(crate) struct Same;

impl Transform for Same {
    fn feed(&mut self, chunk: Bytes) -> Bytes {
        chunk
    }

    fn finish(&mut self) -> Bytes {
        Bytes::new()
    }
}
