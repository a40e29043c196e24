//! HTTP beside gRPC: connections taken within limits, with TLS or without.

mod answering;
mod places;

use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use answering::Answering;
use places::Places;

/// How long a client may take for a request's head, the idle time before it included.
const HEAD_TIME: Duration = Duration::from_secs(75);
/// hyper's buffer of a connection, which has to hold a head.
const BUFFER: usize = 256 << 10;
/// A head's headers, and requests at a time, of a connection of HTTP/2; and what is queued for a slow reader of one answer.
const HEAD: u32 = 64 << 10;
const STREAMS: u32 = 128;
const SEND_BUFFER: usize = 64 << 10;
/// How long a client may take for TLS.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// After the system had no descriptor or memory for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({option})")]
pub struct ListenError {
    option: &'static str,
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// A bound address.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<ServerConfig>>,
}

/// Who sent a request: among its extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The other end of the connection.
    pub address: SocketAddr,
    /// Whether it is one of TLS.
    pub secure: bool,
}

impl Listener {
    /// Binds what an option says.
    ///
    /// # Errors
    /// [`ListenError`]: it cannot be listened on.
    pub async fn bind(option: &'static str, address: SocketAddr) -> Result<Self, ListenError> {
        let failed = |source| ListenError {
            option,
            address,
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            tls: None,
        })
    }

    /// With TLS, and HTTP/2 for those who ask for it.
    pub fn secured(self, tls: Option<Arc<ServerConfig>>) -> Self {
        Self { tls, ..self }
    }

    /// Where it listens, with the port that the kernel chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The socket, for another protocol.
    pub fn into_inner(self) -> TcpListener {
        self.listener
    }

    /// Serves connections, so many at once, until `stopped`. Who comes when all places are taken gets that of whom nothing has
    /// been heard of for the longest, so that no number of silent clients keeps others out; only when all are being answered is
    /// the newcomer let go. A connection that is upgraded gives its place back, and is its service's own from then on.
    pub async fn serve<S, B>(self, connections: usize, stopped: CancellationToken, service: S)
    where
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body + Send + Unpin + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let places = Places::new(connections);
        loop {
            let accepted = tokio::select! {
                () = stopped.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => {
                    if let Some(place) = places.take() {
                        let peer = Peer {
                            address,
                            secure: self.tls.is_some(),
                        };
                        let service = Answering {
                            service: service.clone(),
                            peer,
                            seat: place.seat(),
                        };
                        let (tls, stopped) = (self.tls.clone(), stopped.clone());
                        tokio::spawn(async move {
                            let answered = answer(stream, tls, service);
                            tokio::select! {
                                () = answered => {}
                                () = stopped.cancelled() => {}
                                () = place.wanted() => {}
                            }
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

async fn answer<S, B>(stream: TcpStream, tls: Option<Arc<ServerConfig>>, service: S)
where
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    // Small messages go at once.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return http1(stream, service).await;
    };
    match timeout(HANDSHAKE_TIME, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
            http2(stream, service).await;
        }
        Ok(Ok(stream)) => http1(stream, service).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
        Err(_) => {}
    }
}

async fn http1<I, S, B>(stream: I, service: S)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}

async fn http2<I, S, B>(stream: I, service: S)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended");
    }
}
