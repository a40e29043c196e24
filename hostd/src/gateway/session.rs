//! A client's WebSocket, and the sandbox that it speaks for.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, interval, timeout_at};

use super::config;
use super::error::ApiError;
use super::lease::Lease;
use super::link::{self, MAX_MESSAGE, Receiver, Sender};
use super::memory;
use super::server::Gateway;
use crate::tenancy::{Caller, Scope};

const SANDBOX_ID: HeaderName = HeaderName::from_static("x-deno-sandbox-id");
/// A client is asked for a sign of life this often; both SDKs' libraries answer by themselves.
const PING_EVERY: Duration = Duration::from_secs(15);
/// One that has given none for so long is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// The other side of a close may take so long.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// What the JavaScript SDK sends to hear whether anybody is there, and hears then.
const PING: &str = "ping";
const PONG: &str = "pong";

/// Makes a sandbox and speaks for it.
pub(super) async fn create(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    caller.may(Scope::Sandboxes)?;
    let services = gateway.sandboxes.services();
    let (root, networks) = (
        &services.config.gateway_snapshot,
        services.networks.is_some(),
    );
    let mut wanted = config::read(&headers, root, networks)?;
    memory::fit(services, &caller, &mut wanted).await?;
    let place = place(&gateway)?;
    let session = wanted.session;
    let record = gateway.sandboxes.create(&caller, wanted.spec).await?;
    let id = record.id.to_string();
    let sandbox = gateway.sandboxes.living_one(&caller, &id).await?;
    let lease = Lease::new(sandbox, session, place);
    Ok(speak(upgrade, caller, lease, &id))
}

/// Speaks for a sandbox that is there.
pub(super) async fn connect(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    caller.may(Scope::Sandboxes)?;
    let place = place(&gateway)?;
    let sandbox = gateway.sandboxes.living_one(&caller, &id).await?;
    let lease = Lease::new(sandbox, false, place);
    Ok(speak(upgrade, caller, lease, &id))
}

fn place(gateway: &Gateway) -> Result<OwnedSemaphorePermit, ApiError> {
    let place = Arc::clone(&gateway.sessions).try_acquire_owned();
    place.map_err(|_| {
        let message = "too many clients are connected";
        ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "TOO_MANY_CONNECTIONS",
            message,
        )
    })
}

fn speak(upgrade: WebSocketUpgrade, caller: Caller, lease: Lease, id: &str) -> Response {
    let upgrade = upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE);
    let mut response = upgrade.on_upgrade(move |socket| serve(socket, caller, lease));
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(SANDBOX_ID, id);
    }
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// Why a connection is closed.
enum End {
    /// The client went, or is silent: nobody is there to be told.
    Gone,
    /// It is told.
    Close(u16, String),
}

async fn serve(socket: WebSocket, caller: Caller, lease: Lease) {
    let (mut sink, stream) = socket.split();
    let end = match link::begin(lease.sandbox()).await {
        Ok(link) => tokio::select! {
            end = carry(&mut sink, stream, link, &lease) => end,
            () = caller.refused() => {
                End::Close(close_code::POLICY, "the token was revoked, or its time is over".into())
            }
        },
        Err(error) => End::Close(close_code::ERROR, error.to_string()),
    };
    if let End::Close(code, reason) = end {
        let reason = Utf8Bytes::from(cut(reason));
        let closing = sink.send(Message::Close(Some(CloseFrame { code, reason })));
        let _ = tokio::time::timeout(CLOSE_TIME, closing).await;
    }
}

async fn carry(
    sink: &mut SplitSink<WebSocket, Message>,
    stream: SplitStream<WebSocket>,
    (sender, receiver): (Sender, Receiver),
    lease: &Lease,
) -> End {
    // Of our own, beside the guest's.
    let (ours, own) = mpsc::channel(4);
    tokio::select! {
        end = read(stream, sender, ours) => end,
        end = write(sink, receiver, own) => end,
        ended = lease.sandbox().ended() => {
            End::Close(close_code::AWAY, format!("the sandbox is {}", ended.phase))
        }
    }
}

/// Passes on what the client says.
async fn read(
    mut stream: SplitStream<WebSocket>,
    sender: Sender,
    ours: mpsc::Sender<Message>,
) -> End {
    loop {
        let Ok(message) = timeout_at(Instant::now() + SILENCE, stream.next()).await else {
            return End::Gone;
        };
        match message {
            Some(Ok(Message::Text(text))) if text.as_str() == PING => {
                let _ = ours.send(Message::Text(PONG.into())).await;
            }
            Some(Ok(Message::Text(text))) => {
                if !sender.send(Bytes::from(text)).await {
                    return End::Close(close_code::ERROR, "the sandbox takes no more".into());
                }
            }
            Some(Ok(Message::Binary(_))) => {
                return End::Close(close_code::UNSUPPORTED, "messages are texts".into());
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Close(_))) | None => return End::Gone,
            Some(Err(error)) if is_too_long(&error) => {
                let reason = format!("a message has at most {MAX_MESSAGE} bytes");
                return End::Close(close_code::SIZE, reason);
            }
            Some(Err(_)) => return End::Gone,
        }
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let error: &dyn std::error::Error = error;
    let inner = error.source().unwrap_or(error);
    matches!(
        inner.downcast_ref::<tungstenite::Error>(),
        Some(tungstenite::Error::Capacity(_))
    )
}

/// Passes on what the guest says, and asks for signs of life.
async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    mut receiver: Receiver,
    mut own: mpsc::Receiver<Message>,
) -> End {
    let mut pings = interval(PING_EVERY);
    loop {
        let message = tokio::select! {
            message = receiver.next() => match message {
                Ok(Some(bytes)) => match Utf8Bytes::try_from(bytes) {
                    Ok(text) => Message::Text(text),
                    Err(_) => return broken("what it says is no text"),
                },
                Ok(None) => return broken("its service ended"),
                Err(error) => return broken(&error.to_string()),
            },
            Some(message) = own.recv() => message,
            _ = pings.tick() => Message::Ping(Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            return End::Gone;
        }
    }
}

fn broken(problem: &str) -> End {
    End::Close(
        close_code::ERROR,
        format!("the sandbox broke off: {problem}"),
    )
}

/// A close has room for 123 bytes of reason (RFC 6455, section 5.5).
fn cut(mut reason: String) -> String {
    let end = (0..=123).rev().find(|at| reason.is_char_boundary(*at));
    reason.truncate(end.unwrap_or(0));
    reason
}
