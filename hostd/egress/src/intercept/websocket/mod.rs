//! WebSocket (RFC 6455): the handshake as we pass it on, and the bytes after it.
//!
//! Where the host has secrets the frames are read, and compression is not offered on, because a compressed
//! frame cannot be rewritten without its neighbours. Elsewhere the bytes pass as they are. Extended CONNECT
//! (RFC 8441) is not offered: clients then use HTTP/1.1, as they do with most servers.

mod frames;

use std::io;

use http::header::{CONNECTION, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

pub(super) use frames::{Frames, Sender};

use super::body::Meter;
use crate::hop;
use crate::rewrite::Transform;

/// What is read at a time in each direction.
const BUFFER: usize = 16 << 10;

/// Whether a request asks for a WebSocket. Asked before the connection's own headers are dropped.
pub(super) fn wanted(request: &Parts) -> bool {
    request.method == Method::GET
        && request.version == Version::HTTP_11
        && request.headers.contains_key(SEC_WEBSOCKET_KEY)
        && hop::tokens(&request.headers, &CONNECTION)
            .any(|token| token.eq_ignore_ascii_case("upgrade"))
        && hop::tokens(&request.headers, &UPGRADE)
            .any(|token| token.eq_ignore_ascii_case("websocket"))
}

/// Asks for one, of an upstream or in a guest's answer; without extensions where the frames are to be read.
pub(super) fn ask(headers: &mut HeaderMap, read: bool) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if read {
        headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    }
}

/// Whether an upstream's answer agrees to what [`ask`] asked.
pub(super) fn agreed(headers: &HeaderMap, read: bool) -> bool {
    let websocket =
        hop::tokens(headers, &UPGRADE).any(|token| token.eq_ignore_ascii_case("websocket"));
    websocket && !(read && headers.contains_key(SEC_WEBSOCKET_EXTENSIONS))
}

/// Passes frames of one direction on, rewritten, until they end.
pub(super) async fn pass_frames<R, W, M, T>(
    mut from: R,
    mut to: W,
    mut frames: Frames<M, T>,
    meter: Meter,
) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
    M: FnMut(bool) -> T,
    T: Transform,
{
    let mut buffer = vec![0; BUFFER];
    let mut output = Vec::new();
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        frames
            .feed(buffer.get(..count).unwrap_or_default(), &mut output)
            .map_err(io::Error::other)?;
        to.write_all(&output).await?;
        to.flush().await?;
        meter.add(output.len());
        output.clear();
    }
}

/// Passes bytes of one direction on as they are, until they end.
pub(super) async fn pass_bytes<R, W>(mut from: R, mut to: W, meter: Meter) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..count).unwrap_or_default())
            .await?;
        to.flush().await?;
        meter.add(count);
    }
}

#[cfg(test)]
mod tests;
