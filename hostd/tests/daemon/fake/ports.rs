//! Ports of a small sandbox: on all of them is a web server that says what it was asked.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use protocol::agent::v1::dial_input::Input;
use protocol::agent::v1::dial_target::Target;
use protocol::agent::v1::ports_server::Ports;
use protocol::agent::v1::{DialInput, DialOutput};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::io::ReaderStream;
use tonic::{Request, Response, Status, Streaming};

use super::Trouble;
use super::guest::Guest;

pub struct FakePorts {
    pub guest: Arc<Guest>,
}

#[tonic::async_trait]
impl Ports for FakePorts {
    type DialStream = Pin<Box<dyn Stream<Item = Result<DialOutput, Status>> + Send>>;

    async fn dial(
        &self,
        request: Request<Streaming<DialInput>>,
    ) -> Result<Response<Self::DialStream>, Status> {
        let mut inputs = request.into_inner();
        let first = inputs.message().await?.and_then(|first| first.input);
        let Some(Input::Target(target)) = first else {
            return Err(Status::invalid_argument("no target"));
        };
        let Some(Target::Exposed(name)) = target.target else {
            return Err(Status::invalid_argument("no name"));
        };
        match self.guest.trouble {
            Trouble::NobodyListens => return Err(Status::unavailable("port 80: refused")),
            Trouble::NothingExposed => return Err(Status::not_found(name)),
            _ => {}
        }
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        tokio::spawn(serve(theirs, name));
        let (reader, mut writer) = tokio::io::split(ours);
        tokio::spawn(async move {
            while let Ok(Some(message)) = inputs.message().await {
                if let Some(Input::Data(data)) = message.input {
                    writer.write_all(&data).await.unwrap_or_default();
                }
            }
            writer.shutdown().await.unwrap_or_default();
        });
        let outputs = ReaderStream::new(reader).map(|data| {
            Ok(DialOutput {
                data: data.map_err(|error| Status::aborted(error.to_string()))?,
            })
        });
        Ok(Response::new(Box::pin(outputs)))
    }
}

async fn serve(stream: DuplexStream, name: String) {
    let service = service_fn(move |request| answer(request, name.clone()));
    let connection = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // Its client may go at any time.
    let _ = connection.await;
}

async fn answer(
    request: hyper::Request<Incoming>,
    name: String,
) -> Result<hyper::Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    match request.uri().path() {
        "/upgrade" => Ok(upgrade(request)),
        "/pieces" => Ok(hyper::Response::new(pieces())),
        _ => said(request, &name).await,
    }
}

/// The request, as it came.
async fn said(
    request: hyper::Request<Incoming>,
    name: &str,
) -> Result<hyper::Response<BoxBody<Bytes, Infallible>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut text = format!("{} {} {:?} {name}\n", head.method, head.uri, head.version);
    for (header, value) in &head.headers {
        text += &format!("{header}: {}\n", value.to_str().unwrap_or("?"));
    }
    text += &format!("\n{}", String::from_utf8_lossy(&body));
    let mut response = hyper::Response::new(Full::from(text).boxed());
    let headers = response.headers_mut();
    headers.insert("connection", "x-private".parse().unwrap());
    headers.insert("x-private", "1".parse().unwrap());
    headers.insert("x-public", "1".parse().unwrap());
    Ok(response)
}

/// One piece, and then nothing for as long as somebody waits.
fn pieces() -> BoxBody<Bytes, Infallible> {
    let first = stream::once(async { Ok(Frame::data(Bytes::from("first\n"))) });
    BodyExt::boxed(StreamBody::new(first.chain(stream::pending())))
}

/// Says back what it hears, when it is asked for the protocol `echo`.
fn upgrade(mut request: hyper::Request<Incoming>) -> hyper::Response<BoxBody<Bytes, Infallible>> {
    let asked = request.headers().get("upgrade").cloned();
    let mut response = hyper::Response::new(Full::default().boxed());
    if asked.as_ref().is_none_or(|protocol| protocol != "echo") {
        *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
        return response;
    }
    tokio::spawn(async move {
        let Ok(upgraded) = hyper::upgrade::on(&mut request).await else {
            return;
        };
        let mut stream = TokioIo::new(upgraded);
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            stream
                .write_all(&buffer[..length])
                .await
                .unwrap_or_default();
        }
    });
    *response.status_mut() = hyper::StatusCode::SWITCHING_PROTOCOLS;
    response
        .headers_mut()
        .insert("upgrade", "echo".parse().unwrap());
    response
        .headers_mut()
        .insert("connection", "upgrade".parse().unwrap());
    response
}
