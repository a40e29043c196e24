//! A body, and what of it came with its head.
//!
//! hyper gives a head away before its body, so that whoever passes messages on would write each in several pieces: head,
//! body, end. What has come already is taken here without waiting for more, and goes on together with the head.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::yield_now;

use super::driven::Driven;

/// How much is taken ahead: as much as a TLS record holds.
const AHEAD: usize = 16 << 10;
/// How often others may run meanwhile: hyper reads a body only after it was asked for.
const TURNS: usize = 2;

/// A frame as hyper gives it.
type Polled = Result<Frame<Bytes>, hyper::Error>;

/// An incoming body of which the beginning was taken already.
pub(super) struct Begun {
    taken: VecDeque<Polled>,
    /// Bytes in `taken`.
    length: u64,
    /// What is not there yet; nothing, if all is.
    rest: Option<Incoming>,
    /// What brings it, if nobody else makes it do so.
    driven: Option<Driven>,
}

impl Begun {
    /// Takes what is there. `driven` is the connection that brings the body, unless that is another task's to do.
    pub(super) async fn of(incoming: Incoming, driven: Option<Driven>) -> Self {
        let turns = if driven.is_some() { 0 } else { TURNS };
        let mut begun = Self {
            taken: VecDeque::new(),
            length: 0,
            rest: Some(incoming),
            driven,
        };
        for turn in 0..=turns {
            if turn > 0 {
                yield_now().await;
            }
            poll_fn(|cx| {
                begun.take(cx);
                Poll::Ready(())
            })
            .await;
            if begun.rest.is_none() || begun.length > 0 {
                break;
            }
        }
        begun
    }

    /// Takes frames as long as there are some.
    fn take(&mut self, cx: &mut Context<'_>) {
        while let Some(rest) = &self.rest
            && self.length < AHEAD as u64
        {
            if rest.is_end_stream() {
                self.rest = None;
                return;
            }
            match self.poll_rest(cx) {
                Poll::Pending => return,
                Poll::Ready(None) => self.rest = None,
                Poll::Ready(Some(polled)) => {
                    let data = polled.as_ref().ok().and_then(Frame::data_ref);
                    self.length += data.map_or(0, Bytes::len) as u64;
                    if polled.is_err() {
                        self.rest = None;
                    }
                    self.taken.push_back(polled);
                }
            }
        }
    }

    /// Whether all of it is there.
    pub(super) fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// The next frame.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Polled>> {
        if let Some(polled) = self.taken.pop_front() {
            let data = polled.as_ref().ok().and_then(Frame::data_ref);
            self.length -= data.map_or(0, Bytes::len) as u64;
            return Poll::Ready(Some(polled));
        }
        self.poll_rest(cx)
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Polled>> {
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        match &self.driven {
            // hyper reads it when it was asked for: it may be there at once.
            Some(driven) => driven.poll_with(cx, |cx| Pin::new(&mut *rest).poll_frame(cx)),
            None => Pin::new(rest).poll_frame(cx),
        }
    }

    /// Whether nothing is left.
    pub(super) fn is_end_stream(&self) -> bool {
        let ended = self.rest.as_ref().is_none_or(Incoming::is_end_stream);
        self.taken.is_empty() && ended
    }

    /// How much is left. Of what ends with an error or with trailers nobody knows: they would not be asked for.
    pub(super) fn size_hint(&self) -> SizeHint {
        let is_data = |polled: &Polled| polled.as_ref().is_ok_and(Frame::is_data);
        if !self.taken.iter().all(is_data) {
            return SizeHint::default();
        }
        let rest = self.rest.as_ref().map(Incoming::size_hint);
        let rest = rest.unwrap_or_else(|| SizeHint::with_exact(0));
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(self.length));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(self.length));
        }
        hint
    }
}
