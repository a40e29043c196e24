//! The web servers: HTTP/1.1 and HTTP/2, with TLS and without.
//!
//! | path | answer |
//! |---|---|
//! | `/bytes/N` | N bytes |
//! | `/digest` | the SHA-256 of the request's body |
//! | `/authorized` | the SHA-256 of the request's authorization: nothing on the way back knows the secret in it |
//! | `/events` | three server-sent events with a pause between them; each says what the request's authorization was, if it had one |
//! | `/token` | an access token (RFC 6749), [`TOKEN`] |
//! | `/away` | a redirect to `other.thaw.example` |
//! | `/socket` | a WebSocket that says back what it hears; each text is recorded as the body of one more request |
//! | below `/repository.git`, `/simple`, `/thaw.world.Echo/` | see `git`, `packages`, `grpc` |
//! | any other | the request as the server saw it, as JSON |

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt, stream};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, LOCATION, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::record::{Record, Seen};
use super::{git, grpc, packages};

/// Of a request's body, in a [`Seen`].
const SHOWN_BODY_BYTES: usize = 16 << 10;
const PIECE: &[u8] = &[b'x'; 64 << 10];
/// What `/token` gives out.
pub const TOKEN: &str = "the-access-token-of-the-world";
/// Between events: whoever buffers them shows it.
const EVENT_PAUSE: Duration = Duration::from_millis(300);

pub(super) type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Serves for ever.
pub async fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, record: Record) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(stream, tls.clone(), record.clone()));
    }
}

/// A server that speaks first, and then says back what it hears.
pub async fn greet(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let _ = stream.write_all(b"220 mail.thaw.example\r\n").await;
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
    }
}

async fn connection(stream: TcpStream, tls: Option<Arc<ServerConfig>>, record: Record) {
    let Some(tls) = tls else {
        return requests(stream, String::new(), record).await;
    };
    let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await else {
        return;
    };
    let sni = stream.get_ref().1.server_name().unwrap_or_default();
    let sni = sni.to_owned();
    requests(stream, sni, record).await;
}

async fn requests<S>(stream: S, sni: String, record: Record)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let (sni, record) = (sni.clone(), record.clone());
        async move { answer(request, sni, &record).await }
    });
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}

async fn answer(
    mut request: Request<Incoming>,
    sni: String,
    record: &Record,
) -> crate::Result<Answer> {
    let mut seen = seen(&request, sni);
    let path = request.uri().path().to_owned();
    if path == "/socket" {
        record.add(&seen)?;
        return socket(&mut request, seen, record.clone());
    }
    if path.starts_with(grpc::SERVICE) {
        record.add(&seen)?;
        return grpc::answer(request, &seen);
    }
    if path == "/digest" {
        record.add(&seen)?;
        return Ok(text(digest(request.into_body()).await?));
    }
    let body = request.into_body().collect().await?.to_bytes();
    let shown = &body[..body.len().min(SHOWN_BODY_BYTES)];
    seen.body = String::from_utf8_lossy(shown).into_owned();
    record.add(&seen)?;
    if path.starts_with(git::REPOSITORY) {
        return git::answer(&seen);
    }
    if path.starts_with(packages::INDEX) {
        return packages::answer(&seen);
    }
    if let Some(count) = path.strip_prefix("/bytes/") {
        return Ok(Response::new(bytes(count.parse()?)));
    }
    Ok(match path.as_str() {
        "/events" => {
            let answer = Response::builder().header(CONTENT_TYPE, "text/event-stream");
            answer.body(events(&seen))?
        }
        "/token" => text(format!(
            r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":600}}"#
        )),
        "/authorized" => {
            let sent = seen.headers.get(AUTHORIZATION.as_str());
            text(hex::encode(Sha256::digest(sent.map_or("", String::as_str))))
        }
        "/away" => {
            let answer = Response::builder().status(StatusCode::FOUND);
            answer
                .header(LOCATION, "https://other.thaw.example/")
                .body(full(""))?
        }
        _ => text(serde_json::to_string(&seen)?),
    })
}

fn seen(request: &Request<Incoming>, sni: String) -> Seen {
    let mut headers = BTreeMap::<String, String>::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        let joined = headers.entry(name.to_string()).or_default();
        *joined = [joined.as_str(), &value]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(",");
    }
    let authority = request.uri().authority().map(ToString::to_string);
    let host = authority.or_else(|| headers.get(HOST.as_str()).cloned());
    let path = request.uri().path_and_query().map(ToString::to_string);
    Seen {
        sni,
        version: format!("{:?}", request.version()),
        method: request.method().to_string(),
        host: host.unwrap_or_default(),
        path: path.unwrap_or_default(),
        headers,
        body: String::new(),
    }
}

async fn digest(mut body: Incoming) -> crate::Result<String> {
    let mut digest = Sha256::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            digest.update(&data);
        }
    }
    Ok(hex::encode(digest.finalize()))
}

fn socket(request: &mut Request<Incoming>, seen: Seen, record: Record) -> crate::Result<Answer> {
    let key = request.headers().get("sec-websocket-key");
    let accept = derive_accept_key(key.map_or(b"".as_slice(), |key| key.as_bytes()));
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let stream = TokioIo::new(upgrade.await?);
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = &message {
                let body = text.to_string();
                record.add(&Seen {
                    body,
                    ..seen.clone()
                })?;
            }
            if message.is_text() || message.is_binary() {
                socket.send(message).await?;
            }
        }
        Ok::<(), anyhow::Error>(())
    });
    let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    Ok(answer
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header("sec-websocket-accept", accept)
        .body(full(""))?)
}

fn text(text: String) -> Answer {
    Response::new(full(text))
}

pub(super) fn full(text: impl Into<Bytes>) -> BoxBody<Bytes, Infallible> {
    Full::new(text.into()).boxed()
}

fn bytes(count: usize) -> BoxBody<Bytes, Infallible> {
    let pieces = stream::unfold(count, |left| async move {
        let piece = left.min(PIECE.len());
        let frame = Frame::data(Bytes::from_static(&PIECE[..piece]));
        (piece > 0).then_some((Ok(frame), left - piece))
    });
    BodyExt::boxed(StreamBody::new(pieces))
}

fn events(seen: &Seen) -> BoxBody<Bytes, Infallible> {
    let authorization = seen.headers.get(AUTHORIZATION.as_str());
    let heard = authorization.map_or(String::new(), |authorization| format!(" {authorization}"));
    let (send, receive) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for number in 0..3 {
            let event = Bytes::from(format!("data: {number}{heard}\n\n"));
            if send.send(Ok(Frame::data(event))).await.is_err() {
                return;
            }
            tokio::time::sleep(EVENT_PAUSE).await;
        }
    });
    BodyExt::boxed(StreamBody::new(ReceiverStream::new(receive)))
}
