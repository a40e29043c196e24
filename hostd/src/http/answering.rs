//! [`Answering`]: a service that learns who asks, and keeps the place of whom it answers.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper::{Request, Response};

use super::Peer;
use super::places::{Busy, Seat};

/// The service of one connection.
#[derive(Clone)]
pub(super) struct Answering<S> {
    pub(super) service: S,
    pub(super) peer: Peer,
    pub(super) seat: Seat,
}

impl<S, B> Service<Request<Incoming>> for Answering<S>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<Answer<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        let busy = self.seat.busy();
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Answer { body, _busy: busy }))
        })
    }
}

/// An answer's body: until its end, its connection is busy.
pub(super) struct Answer<B> {
    body: B,
    _busy: Busy,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
