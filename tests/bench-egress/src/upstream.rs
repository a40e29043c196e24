//! The server that all contestants lead to: fast, and particular about the key.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use futures::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tests::world::addresses::{API, HTTPS};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::shares::{ANSWER, BYTES, KEY};

const PIECE: &[u8] = &[b'x'; 64 << 10];

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Serves in a namespace of its own until standard input ends; says `ready` before. Called by a process of one thread.
pub fn run(directory: &Path) -> tests::Result {
    tests::world::enter()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut tls = ServerConfig::clone(&*tests::world::begin(directory)?);
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind((API, HTTPS)).await?;
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls))));
        println!("ready");
        tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
        Ok(())
    })
}

async fn serve(listener: TcpListener, tls: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, tls.clone()));
    }
}

async fn connection(stream: TcpStream, tls: TlsAcceptor) {
    let _ = stream.set_nodelay(true);
    // Whoever broke off has seen it.
    if let Ok(stream) = tls.accept(stream).await {
        let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request)) });
        let _ = http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }
}

fn answer(request: &Request<Incoming>) -> Answer {
    let shown = request.headers().get(AUTHORIZATION);
    let key = shown.and_then(|shown| shown.as_bytes().strip_prefix(b"Bearer "));
    if key != Some(KEY.as_bytes()) {
        let mut refused = Response::new(Full::default().boxed());
        *refused.status_mut() = StatusCode::UNAUTHORIZED;
        return refused;
    }
    let count = request.uri().path().strip_prefix(BYTES);
    match count.and_then(|count| count.parse().ok()) {
        Some(count) => typed("application/octet-stream", bytes(count)),
        None => typed("application/json", Full::from(ANSWER).boxed()),
    }
}

fn typed(kind: &'static str, body: BoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    let kind = hyper::header::HeaderValue::from_static(kind);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn bytes(count: usize) -> BoxBody<Bytes, Infallible> {
    let pieces = stream::unfold(count, |left| async move {
        let piece = left.min(PIECE.len());
        let frame = Frame::data(Bytes::from_static(PIECE.get(..piece)?));
        (piece > 0).then_some((Ok(frame), left - piece))
    });
    BodyExt::boxed(StreamBody::new(pieces))
}
