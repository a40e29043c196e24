//! What rewrites a stream as it passes.

use bytes::Bytes;

/// A stream's rewriting: the same result however the stream is cut into chunks.
pub(super) trait Transform: Send {
    /// What can go on after this chunk.
    fn feed(&mut self, chunk: &[u8]) -> Bytes;
    /// What was held back until the end.
    fn finish(&mut self) -> Bytes;
}

impl Transform for Box<dyn Transform> {
    fn feed(&mut self, chunk: &[u8]) -> Bytes {
        (**self).feed(chunk)
    }

    fn finish(&mut self) -> Bytes {
        (**self).finish()
    }
}
