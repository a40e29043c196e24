//! Connections to upstreams: dialled through the gate, verified, kept for a guest's connection as long as that lives.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use rustls::ClientConfig;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::body::Body;
use super::client::{Client, Lasting};
use super::driven::{Driven, Drivers};
use super::limits;
use super::protocol::Protocol;
use super::session::{Common, Undialled};
use super::tasks::Tasks;
use super::tls;
use crate::gate::Reached;
use crate::policy::Target;

/// What an upstream did instead of answering. The text follows "the upstream NAME".
#[derive(Debug, thiserror::Error)]
pub(super) enum UpstreamError {
    /// No connection.
    #[error("could not be reached: {0}")]
    Dial(Undialled),
    /// No TLS in time.
    #[error("did not answer in time")]
    Timeout,
    /// A certificate that is not trusted, not for this host, or not valid now.
    #[error("showed a certificate that is not valid: {0}")]
    Certificate(rustls::CertificateError),
    /// TLS that failed otherwise.
    #[error("broke off the TLS handshake: {0}")]
    Tls(io::Error),
    /// A host that TLS cannot verify.
    #[error("has a name that no certificate can have")]
    Name,
    /// Another protocol than the one that was agreed upon with the guest.
    #[error("speaks another version of HTTP than before")]
    Protocol,
    /// HTTP that broke off before there was an answer.
    #[error("broke off before it answered: {0}")]
    Http(hyper::Error),
}

/// How a guest's connection goes on to its upstreams.
pub(super) struct Pool {
    common: Common,
    secure: bool,
    tasks: Tasks,
    drivers: Drivers,
    idle: Mutex<Vec<(Target, Client)>>,
    /// Held while connecting, so that HTTP/2's streams share what one of them dials.
    connecting: AsyncMutex<()>,
}

impl Pool {
    /// Upstream connections for one connection of the guest; `secure` ones speak TLS, as the guest does.
    pub(super) fn new(common: Common, secure: bool, tasks: Tasks) -> Self {
        Self {
            common,
            secure,
            tasks,
            drivers: Drivers::default(),
            idle: Mutex::new(Vec::new()),
            connecting: AsyncMutex::new(()),
        }
    }

    /// What does the work of its HTTP/1.1 connections.
    pub(super) fn drivers(&self) -> &Drivers {
        &self.drivers
    }

    /// Connects and says which of `protocols` the upstream chose: the first one, where there is no TLS to ask with.
    pub(super) async fn prepare(
        &self,
        target: &Target,
        protocols: &[Protocol],
    ) -> Result<Protocol, UpstreamError> {
        let client = Box::pin(self.connect(target, protocols)).await?;
        let protocol = client.protocol();
        self.keep(target, client);
        Ok(protocol)
    }

    /// Sends a request and gives the answer, and from where.
    ///
    /// A connection that was kept may have ended meanwhile. What was not sent is sent again on a new one, and so
    /// is what was, once, if it may be sent twice (RFC 9110, section 9.2.2) and has no body. A copy for that is made where an
    /// end has to be expected ([`Client::use_again`]), and not for each request of a connection that is in steady use.
    pub(super) async fn send(
        &self,
        target: &Target,
        protocol: Protocol,
        request: Box<Request<Body>>,
    ) -> Result<Answer, UpstreamError> {
        let mut kept = self.kept(target).await;
        let doubtful = kept.as_mut().is_some_and(Client::use_again);
        let again = doubtful.then(|| repeatable(&request)).flatten();
        let request = match kept {
            None => request,
            Some(client) => match self.send_on(client, target, request).await {
                Ok(response) => return Ok(response),
                Err(Unsent {
                    request: Some(request),
                    ..
                }) => request,
                Err(Unsent {
                    ended: true, error, ..
                }) => again.ok_or(UpstreamError::Http(error))?,
                Err(unsent) => return Err(UpstreamError::Http(unsent.error)),
            },
        };
        let client = self.fresh(target, protocol).await?;
        self.send_on(client, target, request)
            .await
            .map_err(|unsent| UpstreamError::Http(unsent.error))
    }

    /// A new connection, or what another stream has just dialled.
    async fn fresh(&self, target: &Target, protocol: Protocol) -> Result<Client, UpstreamError> {
        let _connecting = self.connecting.lock().await;
        if let Some(client) = self.kept(target).await {
            return Ok(client);
        }
        let client = Box::pin(self.connect(target, &[protocol])).await?;
        if let Some(shared) = client.share() {
            self.keep(target, shared);
        }
        Ok(client)
    }

    async fn send_on(
        &self,
        mut client: Client,
        target: &Target,
        request: Box<Request<Body>>,
    ) -> Result<Answer, Unsent> {
        let address = client.address;
        match client.send(*request).await {
            Ok(response) => {
                let driven = client.driven();
                if driven.is_some() {
                    self.keep(target, client);
                }
                Ok(Answer {
                    response,
                    address,
                    driven,
                })
            }
            Err(mut error) => {
                let request = error.take_message().map(Box::new);
                Err(Unsent {
                    request,
                    ended: client.is_closed(),
                    error: error.into_error(),
                })
            }
        }
    }

    /// A connection that is kept and not known to have ended: HTTP/1.1's only handle, or another one of HTTP/2's.
    async fn kept(&self, target: &Target) -> Option<Client> {
        let mut client = {
            let mut idle = self.idle();
            let at = idle.iter().position(|(host, _)| host == target)?;
            match idle.get(at).and_then(|(_, client)| client.share()) {
                Some(shared) => shared,
                None => idle.swap_remove(at).1,
            }
        };
        client.ready().await.then_some(client)
    }

    fn keep(&self, target: &Target, client: Client) {
        let mut idle = self.idle();
        idle.retain(|(host, _)| host != target);
        if idle.len() >= limits::UPSTREAMS {
            idle.remove(0);
        }
        idle.push((target.clone(), client));
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Target, Client)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be boxed: it is large, and neither most requests nor a connection that goes on have to do with it.
    async fn connect(
        &self,
        target: &Target,
        protocols: &[Protocol],
    ) -> Result<Client, UpstreamError> {
        let stream = self
            .common
            .outside
            .dial(target)
            .await
            .map_err(UpstreamError::Dial)?;
        let lasting = self.lasting(target, stream.address());
        if !self.secure {
            let protocol = protocols.first().copied().unwrap_or(Protocol::Http1);
            return Client::begin(stream, lasting, protocol, &self.drivers, &self.tasks)
                .await
                .map_err(UpstreamError::Http);
        }
        let stream = secure(&self.common.upstream_tls, target, protocols, stream).await?;
        let protocol = Protocol::of_alpn(stream.get_ref().1.alpn_protocol());
        if !protocols.contains(&protocol) {
            return Err(UpstreamError::Protocol);
        }
        Client::begin(stream, lasting, protocol, &self.drivers, &self.tasks)
            .await
            .map_err(UpstreamError::Http)
    }

    /// Where a connection goes, and for how long it may.
    fn lasting(&self, target: &Target, address: IpAddr) -> Lasting {
        let (outside, target) = (Arc::clone(&self.common.outside), target.clone());
        Lasting {
            address,
            until: Box::pin(async move { outside.until_refused(&target, Some(address)).await }),
        }
    }
}

/// An answer.
pub(super) struct Answer {
    pub(super) response: Response<Incoming>,
    /// From where.
    pub(super) address: IpAddr,
    /// What brings its body, if the connection is HTTP/1.1.
    pub(super) driven: Option<Driven>,
}

/// A request that did not get its answer, and itself if nothing of it went out.
struct Unsent {
    request: Option<Box<Request<Body>>>,
    /// The whole connection ended, not only this request's part of it.
    ended: bool,
    error: hyper::Error,
}

/// TLS with an upstream, verified for the target's host.
pub(super) async fn secure(
    config: &ClientConfig,
    target: &Target,
    protocols: &[Protocol],
    stream: Reached,
) -> Result<TlsStream<Reached>, UpstreamError> {
    let name = tls::server_name(&target.host).ok_or(UpstreamError::Name)?;
    let mut config = config.clone();
    config.alpn_protocols = protocols
        .iter()
        .map(|protocol| protocol.alpn().to_vec())
        .collect();
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    match timeout(limits::UPSTREAM_HANDSHAKE_TIME, handshake).await {
        Err(_) => Err(UpstreamError::Timeout),
        Ok(Err(error)) => Err(handshake_error(error)),
        Ok(Ok(stream)) => Ok(stream),
    }
}

fn handshake_error(error: io::Error) -> UpstreamError {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            UpstreamError::Certificate(reason.clone())
        }
        _ => UpstreamError::Tls(error),
    }
}

/// A copy of a request that may be sent twice.
fn repeatable(request: &Request<Body>) -> Option<Box<Request<Body>>> {
    let safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if !safe || !http_body::Body::is_end_stream(request.body()) {
        return None;
    }
    let mut copy = Request::new(Body::whole(bytes::Bytes::new()));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(Box::new(copy))
}
