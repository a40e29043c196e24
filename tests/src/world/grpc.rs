//! A gRPC service that says back what it is told.
//!
//! Messages are never looked into: each has its length before it, so bytes that come back in order are the same messages.
//!
//! | method | answer |
//! |---|---|
//! | `/thaw.world.Echo/Repeat` | when all is said: all of it, three times |
//! | `/thaw.world.Echo/Converse` | each piece as it comes |

use std::convert::Infallible;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::guard;
use super::record::Seen;
use super::web::Answer;

/// Below this path.
pub const SERVICE: &str = "/thaw.world.Echo/";

/// How often one message is repeated.
const TIMES: usize = 3;

/// The end of a stream: its status, and what the request's authorization was once more.
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const ECHO: HeaderName = HeaderName::from_static("x-seen-at-the-end");

type Sender = mpsc::Sender<Result<Frame<Bytes>, Infallible>>;

/// Answers a call of the service.
pub fn answer(request: Request<Incoming>, seen: &Seen) -> crate::Result<Answer> {
    let (send, receive) = mpsc::channel(1);
    let repeats = request.uri().path().ends_with("/Repeat");
    let trailers = trailers(seen)?;
    tokio::spawn(async move {
        let mut body = request.into_body();
        match repeats {
            true => repeat(&mut body, &send).await?,
            false => converse(&mut body, &send).await?,
        }
        send.send(Ok(Frame::trailers(trailers))).await?;
        Ok::<(), anyhow::Error>(())
    });
    let body: BoxBody<_, _> = BodyExt::boxed(StreamBody::new(ReceiverStream::new(receive)));
    let answer = guard::echo(Response::builder(), seen);
    Ok(answer.header(CONTENT_TYPE, "application/grpc").body(body)?)
}

async fn repeat(body: &mut Incoming, send: &Sender) -> crate::Result {
    let message = body.collect().await?.to_bytes();
    for _ in 0..TIMES {
        send.send(Ok(Frame::data(message.clone()))).await?;
    }
    Ok(())
}

async fn converse(body: &mut Incoming, send: &Sender) -> crate::Result {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            send.send(Ok(Frame::data(data))).await?;
        }
    }
    Ok(())
}

fn trailers(seen: &Seen) -> crate::Result<HeaderMap> {
    let mut trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
    if let Some(authorization) = seen.headers.get("authorization") {
        trailers.insert(ECHO, authorization.parse()?);
    }
    Ok(trailers)
}
