//! [`Decoded`]: a compressed body, decoded for the transform behind it.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use compression_codecs::core::util::{PartialBuffer, WriteBuffer};
use compression_codecs::zstd::params::DParameter;
use compression_codecs::{
    BrotliDecoder, DecodeV2, DeflateDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder,
};

use super::coding::Coding;
use super::transform::Transform;

/// What is decoded at a time: a body that unfolds without end goes on in such parts, as fast as the guest reads.
const PART: usize = 64 << 10;
/// RFC 9659: eight MiB of window are enough for HTTP.
const ZSTD_WINDOW: u32 = 23;

/// Decodes what is fed and passes it on.
pub(super) struct Decoded {
    coding: Coding,
    decoder: Option<Box<dyn DecodeV2 + Send>>,
    inner: Box<dyn Transform>,
    input: BytesMut,
    state: State,
    /// The decoder had no room for all that it has.
    full: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing came yet.
    Empty,
    /// Within a member, of which there may be several.
    Member,
    /// After a member.
    Between,
    /// What comes now is of no interest.
    Over,
    /// Not in this coding.
    Failed,
}

impl Decoded {
    pub(super) fn new(coding: Coding, inner: Box<dyn Transform>) -> Self {
        Self {
            coding,
            decoder: None,
            inner,
            input: BytesMut::new(),
            state: State::Empty,
            full: false,
        }
    }

    /// The next part, if there is any.
    fn part(&mut self) -> Option<Vec<u8>> {
        let mut part = vec![0; PART];
        let mut output = WriteBuffer::new_initialized(&mut part);
        while !output.has_no_spare_space() && self.has_work() {
            if let Err(error) = self.step(&mut output) {
                tracing::debug!(%error, coding = ?self.coding, "an answer is not in its coding");
                // Some servers put something behind the end; clients do not mind.
                self.state = if self.state == State::Between {
                    State::Over
                } else {
                    State::Failed
                };
                break;
            }
        }
        self.full = output.has_no_spare_space();
        let length = output.written_len();
        part.truncate(length);
        (!part.is_empty()).then_some(part)
    }

    fn has_work(&mut self) -> bool {
        match self.state {
            State::Over | State::Failed => {
                self.input.clear();
                false
            }
            State::Between => !self.input.is_empty(),
            State::Empty | State::Member => self.full || !self.input.is_empty(),
        }
    }

    /// Decodes some of the input, or gives what had no room before.
    fn step(&mut self, output: &mut WriteBuffer<'_>) -> io::Result<()> {
        let before = output.written_len();
        let decoder = match (&mut self.decoder, self.state) {
            (Some(decoder), State::Between) => {
                decoder.reinit()?;
                decoder
            }
            (Some(decoder), _) => decoder,
            (none, _) => none.insert(start(self.coding, self.input.first())),
        };
        let drain = self.input.is_empty();
        let mut input = PartialBuffer::new(&self.input[..]);
        let ended = match self.coding {
            // These take an empty input for an error.
            Coding::Gzip | Coding::Deflate if drain => decoder.flush(output).map(|_| false)?,
            _ => decoder.decode(&mut input, output)?,
        };
        let taken = input.written_len();
        self.input.advance(taken);
        self.full = false;
        if ended {
            self.state = self.after();
        } else if taken > 0 {
            self.state = State::Member;
        } else if !drain && output.written_len() == before {
            return Err(io::Error::other("nothing can be made of it"));
        }
        Ok(())
    }

    /// Whether the end came with what had no room before.
    fn ends(&mut self) -> bool {
        let mut rest = [0; 1];
        let mut output = WriteBuffer::new_initialized(&mut rest);
        let decoder = self.decoder.as_mut();
        let ended = decoder.is_some_and(|decoder| decoder.finish(&mut output).unwrap_or(false));
        ended && output.written_len() == 0
    }

    /// What may follow a member.
    fn after(&self) -> State {
        match self.coding {
            Coding::Gzip | Coding::Zstd => State::Between,
            Coding::Deflate | Coding::Brotli => State::Over,
        }
    }
}

fn start(coding: Coding, first: Option<&u8>) -> Box<dyn DecodeV2 + Send> {
    // RFC 1950's first byte names the method, 8; a stream of RFC 1951 hardly ever begins so.
    let zlib = first.is_none_or(|byte| byte & 0x0f == 8);
    match coding {
        Coding::Gzip => Box::new(GzipDecoder::new()),
        Coding::Deflate if zlib => Box::new(ZlibDecoder::new()),
        Coding::Deflate => Box::new(DeflateDecoder::new()),
        Coding::Brotli => Box::new(BrotliDecoder::new()),
        Coding::Zstd => Box::new(ZstdDecoder::new_with_params(&[DParameter::window_log_max(
            ZSTD_WINDOW,
        )])),
    }
}

impl Transform for Decoded {
    fn feed(&mut self, chunk: Bytes) -> Bytes {
        self.input.extend_from_slice(&chunk);
        self.part()
            .map_or_else(Bytes::new, |part| self.inner.feed(part.into()))
    }

    fn more(&mut self) -> Option<Bytes> {
        if let Some(more) = self.inner.more() {
            return Some(more);
        }
        self.part().map(|part| self.inner.feed(part.into()))
    }

    fn finish(&mut self) -> Bytes {
        if self.state == State::Member && !self.ends() {
            self.state = State::Failed;
        }
        self.inner.finish()
    }

    fn failed(&self) -> bool {
        self.state == State::Failed || self.inner.failed()
    }
}

#[cfg(test)]
mod tests;
