//! Opened connections: the sandbox's CA, TLS on both sides, HTTP/1.1, HTTP/2, upgrades.
//!
//! ```text
//!  guest ── TLS, our leaf ── hyper server ── exchange ──────────────────── hyper client ── TLS, verified ── upstream
//!                                            asked:    host = connection's? policy?
//!                                            outbound: addressed, secrets in
//!                                            inbound:  placeholders back
//! ```
//!
//! **Which HTTP.** The upstream is asked first, with what the guest offers in its ClientHello, and the guest is
//! offered only what the upstream chose: HTTP is of the same version end to end, nothing is translated, and
//! what works directly works here. An upstream that cannot be reached is told of over HTTP, within the guest's
//! TLS, so that its program prints a reason and not a failed handshake.
//!
//! **What is not passed on:** CONNECT and TRACE, upgrades other than WebSocket, extended CONNECT, informational
//! answers besides 100 (which hyper gives when a body is first read), reason phrases, and how header names are written:
//! in HTTP/1.1 they go on as `X-Api-Key`, whatever they were.
//!
//! **Smuggling.** Nothing is copied: hyper parses the request and writes another one. With both
//! `Transfer-Encoding` and `Content-Length` the former counts, the latter is dropped and the connection closed
//! after the answer (RFC 9112, section 6.3), so that both sides see one and the same message.

mod asked;
pub mod authority;
mod begun;
mod body;
mod client;
mod driven;
mod exchange;
mod inbound;
mod limits;
mod lingering;
mod minting;
mod outbound;
mod problem;
mod protocol;
mod record;
mod rewriting;
mod server;
mod session;
mod signing;
mod tasks;
mod tls;
mod upstream;
mod websocket;

use std::io;
use std::sync::Arc;

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use self::authority::AuthorityError;
use self::exchange::Exchange;
use self::protocol::Protocol;
use self::session::{Common, Opened, Wire};
use self::tasks::{Scope, Tasks};
use self::upstream::Pool;
use crate::gate::{GuestStream, Session};
use crate::policy::Target;

/// Why an opened connection ended early; the guest's doing but for [`ServeError::Authority`] and [`ServeError::Refused`].
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No ClientHello, or no end of the handshake, in time.
    #[error("the client's TLS handshake took too long")]
    Slow,
    /// The client does not like our certificate, or speaks no TLS that we do.
    #[error("the client's TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// A TLS connection without a host that it was decided for.
    #[error("no host to make a certificate for")]
    NoHost,
    /// No leaf.
    #[error("no certificate for the client")]
    Authority(#[source] AuthorityError),
    /// The policy changed, and refuses the host now.
    #[error("the policy refuses the host now")]
    Refused,
    /// HTTP that broke the rules or off.
    #[error("the client's connection broke off")]
    Http(#[source] hyper::Error),
}

/// Serves a connection of the guest whose first bytes are still to be read, until it ends. Dropping the future
/// ends all that belongs to the connection.
///
/// # Errors
/// [`ServeError`]: it did not end as connections should. There is nothing to be done about it.
pub async fn serve(stream: GuestStream, session: Session) -> Result<(), ServeError> {
    serve_opened(stream, Common::of(&session.shared), Opened::of(&session)).await
}

async fn serve_opened<S>(stream: S, common: Common, opened: Opened) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let scope = Scope::new();
    let tasks = &scope.0;
    let pool = Arc::new(Pool::new(common.clone(), opened.secure(), tasks.clone()));
    let Some(target) = opened.target() else {
        let protocol = if opened.wire == Wire::Http2 {
            Protocol::Http2
        } else {
            Protocol::Http1
        };
        return serve_http(stream, protocol, common, opened, pool, tasks).await;
    };
    let outside = Arc::clone(&common.outside);
    tokio::select! {
        biased;
        served = serve_tls(stream, common, opened, pool, tasks) => served,
        // The next connection is told why.
        () = outside.until_refused(&target, None) => Err(ServeError::Refused),
    }
}

async fn serve_tls<S>(
    stream: S,
    common: Common,
    opened: Opened,
    pool: Arc<Pool>,
    tasks: &Tasks,
) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let acceptor = LazyConfigAcceptor::new(Acceptor::default(), stream);
    let start = timeout(limits::HANDSHAKE_TIME, acceptor).await;
    let start = start
        .map_err(|_| ServeError::Slow)?
        .map_err(ServeError::Handshake)?;
    let target = opened.target().ok_or(ServeError::NoHost)?;
    let name = tls::server_name(&target.host).ok_or(ServeError::NoHost)?;
    let protocol = choose(&start, &target, &pool).await;
    let config =
        tls::config_for(&common.authority, &name, protocol).map_err(ServeError::Authority)?;
    let stream = timeout(limits::HANDSHAKE_TIME, start.into_stream(config)).await;
    let stream = stream
        .map_err(|_| ServeError::Slow)?
        .map_err(ServeError::Handshake)?;
    serve_http(stream, protocol, common, opened, pool, tasks).await
}

/// Asks the upstream which HTTP it speaks of what the guest offers. Without an upstream it is the guest's choice,
/// HTTP/1.1 if that is in it: each request is then told why there is none.
async fn choose<S>(start: &StartHandshake<S>, target: &Target, pool: &Pool) -> Protocol
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let offered = Protocol::offered(start.client_hello().alpn());
    match pool.prepare(target, &offered).await {
        Ok(protocol) => protocol,
        Err(_) if offered == [Protocol::Http2] => Protocol::Http2,
        Err(_) => Protocol::Http1,
    }
}

async fn serve_http<S>(
    stream: S,
    protocol: Protocol,
    common: Common,
    opened: Opened,
    pool: Arc<Pool>,
    tasks: &Tasks,
) -> Result<(), ServeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let exchange = Arc::new(Exchange::new(common, opened, protocol, Arc::clone(&pool)));
    let answering = Arc::clone(&exchange);
    let serving = async {
        let served = server::serve(stream, protocol, tasks, move |request| {
            Arc::clone(&answering).answer(request)
        })
        .await;
        if let Some(left) = exchange.take_left() {
            left.await;
        }
        served.map_err(ServeError::Http)
    };
    pool.drivers().along(serving).await
}

#[cfg(test)]
mod tests;
