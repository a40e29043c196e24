//! A body on its way through: rewritten, counted, never gathered.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::begun::Begun;
use crate::rewrite::Transform;

/// How long a body may become that is rewritten before its head goes out.
const SETTLED: usize = 64 << 10;

/// Rewrites the trailers of a body.
pub(super) type TrailerMap = Box<dyn FnOnce(&mut HeaderMap) + Send>;

/// Bytes that have passed, on their way to the peer.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter(Arc<AtomicU64>);

impl Meter {
    /// Counts `bytes` more.
    pub(super) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// All so far.
    pub(super) fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request's or response's body. `T` is kept for as long as the body is: what is to happen at its end.
pub(super) struct Body {
    /// Rewritten already.
    settled: VecDeque<Result<Frame<Bytes>, BodyError>>,
    source: Source,
    transform: Option<Box<dyn Transform>>,
    map_trailers: Option<TrailerMap>,
    /// What ends it early, told on the next call: hyper tries to send on what came before it first, and would not if it came
    /// at once.
    error: Option<BodyError>,
    meter: Option<Meter>,
    /// Dropped when the body is done with, however it ended.
    _until_end: Option<Box<dyn Send>>,
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// hyper's own words, so that an HTTP/2 peer gets the very reason for which the other one reset the stream.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// A body that is not in the coding that its head names.
    #[error("the body is not in the coding that its head names")]
    Coding,
}

enum Source {
    Whole(Bytes),
    Stream(Begun),
    /// The transform's rest has gone out, the trailers have not.
    Trailers(HeaderMap),
    Done,
}

impl Body {
    /// A body that is all there.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self::new(if bytes.is_empty() {
            Source::Done
        } else {
            Source::Whole(bytes)
        })
    }

    /// A body as it comes.
    pub(super) fn stream(begun: Begun) -> Self {
        Self::new(Source::Stream(begun))
    }

    fn new(source: Source) -> Self {
        Self {
            settled: VecDeque::new(),
            source,
            transform: None,
            map_trailers: None,
            error: None,
            meter: None,
            _until_end: None,
        }
    }

    /// Rewrites it.
    pub(super) fn transformed(mut self, transform: Option<Box<dyn Transform>>) -> Self {
        self.transform = transform;
        self
    }

    /// Rewrites now what is all there, if it is short then as well: its length is known before its head goes out.
    pub(super) fn settled(mut self) -> Self {
        // Nothing is waited for, and so nobody has to be woken.
        let whole = matches!(&self.source, Source::Stream(begun) if begun.is_whole());
        let (mut length, mut cx) = (0, Context::from_waker(Waker::noop()));
        while whole && length < SETTLED {
            let Poll::Ready(Some(polled)) = self.poll(&mut cx) else {
                break;
            };
            let data = polled.as_ref().ok().and_then(Frame::data_ref);
            length += data.map_or(0, Bytes::len);
            self.settled.push_back(polled);
        }
        self
    }

    /// Rewrites its trailers.
    pub(super) fn trailers_mapped(mut self, map: Option<TrailerMap>) -> Self {
        self.map_trailers = map;
        self
    }

    /// Counts it.
    pub(super) fn metered(mut self, meter: Meter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Keeps something until its end.
    pub(super) fn keeping(mut self, what: Box<dyn Send>) -> Self {
        self._until_end = Some(what);
        self
    }

    /// The next frame when there is one to pass on; `None` when the last poll gave only what is held back.
    fn pass(&mut self, frame: Frame<Bytes>) -> Option<Result<Frame<Bytes>, BodyError>> {
        match frame.into_data() {
            Ok(data) => self.pass_data(data).map(|data| Ok(Frame::data(data))),
            Err(frame) => frame
                .into_trailers()
                .ok()
                .map(|trailers| self.pass_trailers(trailers)),
        }
    }

    fn pass_data(&mut self, data: Bytes) -> Option<Bytes> {
        let data = match &mut self.transform {
            Some(transform) => transform.feed(data),
            None => data,
        };
        (!data.is_empty()).then_some(data)
    }

    /// More of what the transform was fed, if it makes sense.
    fn more(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(transform) = &mut self.transform else {
            return Ok(None);
        };
        while let Some(data) = transform.more() {
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
        if transform.failed() {
            Err(BodyError::Coding)
        } else {
            Ok(None)
        }
    }

    fn pass_trailers(&mut self, mut trailers: HeaderMap) -> Result<Frame<Bytes>, BodyError> {
        if let Some(map) = self.map_trailers.take() {
            map(&mut trailers);
        }
        self.source = Source::Done;
        Ok(match self.rest()? {
            Some(rest) => {
                self.source = Source::Trailers(trailers);
                Frame::data(rest)
            }
            None => Frame::trailers(trailers),
        })
    }

    /// What the transform held back.
    fn rest(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(mut transform) = self.transform.take() else {
            return Ok(None);
        };
        let rest = transform.finish();
        if transform.failed() {
            return Err(BodyError::Coding);
        }
        Ok((!rest.is_empty()).then_some(rest))
    }

    fn count(&self, frame: Frame<Bytes>) -> Frame<Bytes> {
        if let Some(meter) = &self.meter {
            meter.add(frame.data_ref().map_or(0, Bytes::len));
        }
        frame
    }

    /// The next frame, rewritten.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match self.more() {
                Ok(None) => {}
                Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(error) => {
                    self.source = Source::Done;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            let polled = match &mut self.source {
                Source::Done => return Poll::Ready(None),
                Source::Stream(begun) => begun.poll_frame(cx),
                Source::Whole(_) | Source::Trailers(_) => return Poll::Ready(self.last()),
            };
            match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(passed) = self.pass(frame) {
                        return Poll::Ready(Some(passed));
                    }
                }
                Poll::Ready(None) => {
                    self.source = Source::Done;
                    let rest = self.rest().transpose();
                    return Poll::Ready(rest.map(|rest| rest.map(Frame::data)));
                }
            }
        }
    }

    /// The one frame that is left.
    fn last(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        match std::mem::replace(&mut self.source, Source::Done) {
            Source::Whole(data) => Some(Ok(Frame::data(data))),
            Source::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
            Source::Stream(_) | Source::Done => None,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(error) = this.error.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = match this.settled.pop_front() {
            Some(settled) => Some(settled),
            None => ready!(this.poll(cx)),
        };
        match polled {
            Some(Err(error)) => {
                this.error = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Ok(frame)) => Poll::Ready(Some(Ok(this.count(frame)))),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let ended = match &self.source {
            Source::Done => true,
            // A stream that ended may have left something in the transform.
            Source::Stream(begun) => self.transform.is_none() && begun.is_end_stream(),
            Source::Whole(_) | Source::Trailers(_) => false,
        };
        ended && self.settled.is_empty() && self.error.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // Whoever was told a length would not ask for the error, or the trailers, behind it.
        let length = |frame: &Result<Frame<Bytes>, _>| Some(frame.as_ref().ok()?.data_ref()?.len());
        let settled: Option<usize> = self.settled.iter().map(length).sum();
        let rest = match &self.source {
            Source::Done => SizeHint::with_exact(0),
            Source::Whole(data) => SizeHint::with_exact(data.len() as u64),
            Source::Stream(begun) if self.transform.is_none() => begun.size_hint(),
            Source::Stream(_) | Source::Trailers(_) => SizeHint::default(),
        };
        match rest.exact().zip(settled) {
            Some((rest, settled)) => SizeHint::with_exact(rest + settled as u64),
            None => SizeHint::default(),
        }
    }
}
