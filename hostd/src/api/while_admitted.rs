//! A call that goes on for as long as its token is good: a stream may be open for days.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Response};

use crate::error::Error;
use crate::tenancy::Caller;

/// The answer, or what is said once the token is refused. The call is dropped then, as if its client had hung up.
pub(super) async fn answer<E>(
    caller: Caller,
    answer: impl Future<Output = Result<Response<Body>, E>>,
) -> Result<Response<Body>, E> {
    let mut refused: BoxFuture<'static, ()> = Box::pin(async move { caller.refused().await });
    let response = tokio::select! {
        biased;
        response = answer => response?,
        () = &mut refused => return Ok(refusal().into_http()),
    };
    Ok(response.map(|body| Body::new(Admitted { body, refused })))
}

/// An answer's body.
struct Admitted {
    body: Body,
    refused: BoxFuture<'static, ()>,
}

impl http_body::Body for Admitted {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        // Only where it would go on: what has ended is not polled again.
        if matches!(&polled, Poll::Ready(None)) || self.refused.as_mut().poll(cx).is_pending() {
            return polled;
        }
        self.body = Body::empty();
        self.refused = Box::pin(std::future::pending());
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(
            refusal()
                .add_header(&mut trailers)
                .map(|()| Frame::trailers(trailers)),
        ))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

fn refusal() -> Status {
    Error::Unauthenticated.into()
}
