//! Connections into guests, as hyper's client wants them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection as Connects};
use hyper_util::rt::TokioIo;
use tower::Service;

use super::names::Names;
use crate::agent::port::Connection;
use crate::error::Error;
use crate::sandboxes::Sandboxes;
use crate::tenancy::Caller;

/// Connects to the sandbox that a name belongs to.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) sandboxes: Sandboxes,
    pub(super) names: Arc<Names>,
}

/// Bytes from and to a guest's port.
pub(super) struct Guest(TokioIo<Connection>);

impl Service<Uri> for Connector {
    type Response = Guest;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Guest, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let Self { sandboxes, names } = self.clone();
        Box::pin(async move {
            let (id, name) = to
                .host()
                .and_then(|host| names.read(host))
                .ok_or_else(|| Error::SandboxNotFound(to.to_string()))?;
            // Who knows the name may, whoever it is.
            let anybody = Caller::operator();
            let sandbox = sandboxes.living_one(&anybody, id.as_str()).await?;
            let connection = Connection::exposed(&sandbox.agent().await?, name).await?;
            Ok(Guest(TokioIo::new(connection)))
        })
    }
}

impl Connects for Guest {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl Write for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
