//! A call that goes on for as long as its token is good: a stream may be open for days.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http_body::Frame;
use tokio::time::timeout;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Response};

use crate::error::Error;
use crate::tenancy::Caller;

/// What is being done when a token is refused may be finished within this time: it may be the very revocation.
const GRACE: Duration = Duration::from_secs(2);

/// The answer, or what is said once the token is refused. The call is dropped then, as if its client had hung up.
pub(super) async fn answer<E>(
    caller: Caller,
    answer: impl Future<Output = Result<Response<Body>, E>>,
) -> Result<Response<Body>, E> {
    let mut answer = pin!(answer);
    let mut refused: BoxFuture<'static, ()> = Box::pin(async move { caller.refused().await });
    let response = tokio::select! {
        biased;
        response = &mut answer => response?,
        () = &mut refused => {
            refused = Box::pin(std::future::ready(()));
            match timeout(GRACE, answer).await {
                Ok(response) => response?,
                Err(_) => return Ok(refusal().into_http()),
            }
        }
    };
    let refused = Some(refused);
    Ok(response.map(|body| Body::new(Admitted { body, refused })))
}

/// An answer's body.
struct Admitted {
    body: Body,
    /// Nothing, once the token is refused.
    refused: Option<BoxFuture<'static, ()>>,
}

impl http_body::Body for Admitted {
    type Data = bytes::Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let ended = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers(),
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Pending => false,
        };
        if ended {
            return polled;
        }
        if let Some(refused) = &mut self.refused {
            if refused.as_mut().poll(cx).is_pending() {
                return polled;
            }
            self.refused = None;
            // A message that is there goes out: an answer of one is finished. A stream has no second one.
            if polled.is_ready() {
                return polled;
            }
        }
        self.body = Body::empty();
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
