//! One call over HTTP/2: the request's messages go out while the answer comes in, for as long as the caller wants the answer.
//!
//! A caller that drops the answer, or the wait for it, has broken off, and the agent is told at once by a reset of the
//! stream, even when it has no room for the request's next bytes. Left open, the stream would keep a program attached or a
//! half-written file open for ever; ended in order, it would make the agent take half a file for a whole one.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use futures::FutureExt;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::{Request, Response};

/// How the agent is told that a caller has broken off. Not CANCEL, which servers take for the end of the request.
const BROKEN_OFF: Reason = Reason::INTERNAL_ERROR;

/// Sends a request over a connection that is ready and waits for the beginning of its answer.
pub async fn exchange(
    mut connection: SendRequest<Bytes>,
    request: Request<Body>,
    place: Option<OwnedSemaphorePermit>,
) -> Result<Response<Answer>, h2::Error> {
    let (parts, body) = request.into_parts();
    let (answer, stream) = connection.send_request(Request::from_parts(parts, ()), false)?;
    let unwanted = CancellationToken::new();
    let wanted = unwanted.clone().drop_guard();
    let mut sending = Box::pin(send(body, stream, unwanted));
    // A short request leaves together with its headers, and without a task.
    if sending.as_mut().now_or_never().is_none() {
        tokio::spawn(sending);
    }
    let answer = answer.await?;
    Ok(answer.map(|stream| Answer {
        _wanted: wanted,
        stream,
        has_data: true,
        _place: place,
    }))
}

/// What an agent answers. Dropping it before its end breaks the call off.
#[derive(Debug)]
pub struct Answer {
    _wanted: DropGuard,
    stream: RecvStream,
    has_data: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if self.has_data {
            match ready!(self.stream.poll_data(context)) {
                Some(Ok(data)) => {
                    // Whoever reads on has done with these bytes: the agent may send as many more.
                    let released = self.stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(released.map(|()| Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.has_data = false,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(context));
        Poll::Ready(trailers.transpose().map(|last| last.map(Frame::trailers)))
    }
}

/// Sends a body to its end, or resets the stream when that fails or nobody wants the answer any more.
async fn send(body: Body, mut stream: SendStream<Bytes>, unwanted: CancellationToken) {
    let sent = tokio::select! {
        biased;
        () = unwanted.cancelled() => None,
        sent = send_all(body, &mut stream) => sent,
    };
    if sent.is_none() {
        stream.send_reset(BROKEN_OFF);
    }
}

/// `None` when the body or the stream breaks. What went wrong with the stream, its answer tells.
async fn send_all(body: Body, stream: &mut SendStream<Bytes>) -> Option<()> {
    let mut body = pin!(body);
    while let Some(frame) = body.frame().await {
        // A gRPC request has no trailers.
        let Ok(mut data) = frame.ok()?.into_data() else {
            continue;
        };
        while !data.is_empty() {
            stream.reserve_capacity(data.len());
            let room = poll_fn(|context| stream.poll_capacity(context))
                .await?
                .ok()?;
            let now = data.split_to(room.min(data.len()));
            let is_last = data.is_empty() && body.is_end_stream();
            stream.send_data(now, is_last).ok()?;
            if is_last {
                return Some(());
            }
        }
    }
    stream.send_data(Bytes::new(), true).ok()
}
