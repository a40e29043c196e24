//! HTTP towards an upstream: one connection of it.

use std::net::IpAddr;
use std::pin::pin;
use std::time::Instant;

use futures::future::BoxFuture;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Body;
use super::driven::{Driven, Drivers};
use super::limits;
use super::protocol::Protocol;
use super::tasks::Tasks;

/// So many uses show that a connection is one that is kept.
const UNPROVEN: u32 = 2;

/// Sends requests on one connection.
pub(super) struct Client {
    sender: Sender,
    /// Where the upstream is.
    pub(super) address: IpAddr,
    /// When something was asked of it last, and how often so far.
    used: Instant,
    uses: u32,
}

/// Where a connection goes, and for how long it may.
pub(super) struct Lasting {
    /// Where the upstream is.
    pub(super) address: IpAddr,
    /// When this ends, so does the connection, whatever is under way.
    pub(super) until: BoxFuture<'static, ()>,
}

enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<Body>, Driven),
    /// As many as the upstream takes.
    Http2(http2::SendRequest<Body>),
}

impl Client {
    /// Begins HTTP on a stream; the connection's work is done by `drivers`, or for HTTP/2 in `tasks`.
    pub(super) async fn begin<S>(
        stream: S,
        lasting: Lasting,
        protocol: Protocol,
        drivers: &Drivers,
        tasks: &Tasks,
    ) -> Result<Self, hyper::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Lasting { address, until } = lasting;
        let sender = match protocol {
            Protocol::Http1 => {
                let (sender, driven) = begin_http1(stream, until, drivers).await?;
                Sender::Http1(sender, driven)
            }
            Protocol::Http2 => Sender::Http2(begin_http2(stream, until, tasks).await?),
        };
        Ok(Self {
            sender,
            address,
            used: Instant::now(),
            uses: 0,
        })
    }

    /// Whether another request may be given to [`Client::send`]: waits for the end of the one before on HTTP/1.1. An end that
    /// nobody has noticed yet is told there.
    pub(super) async fn ready(&mut self) -> bool {
        match &mut self.sender {
            Sender::Http1(sender, driven) => {
                let ready = driven.while_polling(|cx| sender.poll_ready(cx));
                ready.await.is_ok()
            }
            Sender::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// Another handle of an HTTP/2 connection; HTTP/1.1 has one only.
    pub(super) fn share(&self) -> Option<Self> {
        match &self.sender {
            Sender::Http1(..) => None,
            Sender::Http2(sender) => Some(Self {
                sender: Sender::Http2(sender.clone()),
                address: self.address,
                used: self.used,
                uses: self.uses,
            }),
        }
    }

    /// Whether the connection is over.
    pub(super) fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender, _) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// What does the work of an HTTP/1.1 connection, for those who wait for what it brings.
    pub(super) fn driven(&self) -> Option<Driven> {
        match &self.sender {
            Sender::Http1(_, driven) => Some(driven.clone()),
            Sender::Http2(_) => None,
        }
    }

    /// Counts one more use. Whether the upstream has to be expected to end the connection instead of answering: some servers
    /// do so after their first answer, without a word, and all after a rest ([`limits::REST`]). HTTP/2 is ended while others
    /// use it, too.
    pub(super) fn use_again(&mut self) -> bool {
        let now = Instant::now();
        let rested = now.duration_since(std::mem::replace(&mut self.used, now));
        self.uses = self.uses.saturating_add(1);
        self.protocol() == Protocol::Http2 || self.uses <= UNPROVEN || rested >= limits::REST
    }

    /// What is spoken.
    pub(super) fn protocol(&self) -> Protocol {
        match &self.sender {
            Sender::Http1(..) => Protocol::Http1,
            Sender::Http2(_) => Protocol::Http2,
        }
    }

    /// Sends a request; an error has it back when nothing of it has gone out.
    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        match &mut self.sender {
            Sender::Http1(sender, driven) => {
                let mut sending = pin!(sender.try_send_request(request));
                driven.while_polling(|cx| sending.as_mut().poll(cx)).await
            }
            Sender::Http2(sender) => sender.try_send_request(request).await,
        }
    }
}

async fn begin_http1<S>(
    stream: S,
    until: BoxFuture<'static, ()>,
    drivers: &Drivers,
) -> Result<(http1::SendRequest<Body>, Driven), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder
        .title_case_headers(true)
        .max_header_size(limits::HEAD);
    builder.max_buf_size(limits::H1_BUFFER);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let driven = drivers.add(async move {
        tokio::select! {
            // A request that waits here does not go out on a connection that is to end: it is given back.
            biased;
            () = until => {}
            ended = connection.with_upgrades() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an upstream's HTTP/1.1 connection ended");
                }
            }
        }
    });
    Ok((sender, driven))
}

async fn begin_http2<S>(
    stream: S,
    until: BoxFuture<'static, ()>,
    tasks: &Tasks,
) -> Result<http2::SendRequest<Body>, hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http2::Builder::new(tasks.clone());
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(limits::H2_STREAM_WINDOW)
        .initial_connection_window_size(limits::H2_CONNECTION_WINDOW)
        .max_header_list_size(limits::HEAD as u32)
        .max_send_buf_size(limits::H2_SEND_BUFFER)
        .max_concurrent_reset_streams(limits::H2_PENDING_RESETS)
        .max_pending_accept_reset_streams(limits::H2_PENDING_RESETS)
        .max_local_error_reset_streams(limits::H2_ERROR_RESETS)
        .keep_alive_interval(limits::H2_PING_EVERY)
        .keep_alive_timeout(limits::H2_PING_TIME);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    tasks.spawn(async move {
        tokio::select! {
            biased;
            () = until => {}
            ended = connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an upstream's HTTP/2 connection ended");
                }
            }
        }
    });
    Ok(sender)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::Bytes;
    use tokio::io::AsyncReadExt as _;

    use super::super::tasks::Scope;
    use super::*;

    #[tokio::test]
    async fn a_request_does_not_go_out_on_a_connection_that_is_to_end() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let (drivers, scope) = (Drivers::default(), Scope::new());
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let lasting = Lasting {
            address: Ipv4Addr::LOCALHOST.into(),
            until: Box::pin(async { drop(ended.await) }),
        };
        let begun = Client::begin(ours, lasting, Protocol::Http1, &drivers, &scope.0).await;
        let mut client = begun.unwrap();
        let sending = async {
            assert!(client.ready().await);
            end.send(()).unwrap();
            let request = Request::new(Body::whole(Bytes::new()));
            client.send(request).await
        };
        let mut unsent = drivers.along(sending).await.unwrap_err();
        assert!(unsent.take_message().is_some());
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).await.unwrap();
        assert!(sent.is_empty());
    }
}
