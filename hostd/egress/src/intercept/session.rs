//! What an opened connection needs to know, and what it needs others to do.

use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use rustls::ClientConfig;
use tokio::sync::Semaphore;

use super::authority::Authority;
use crate::audit::Audit;
use crate::gate::{DialError, Opening, Reached, Session, Shared};
use crate::policy::{Host, HostName, Refusal, Target, Verdict};
use crate::secrets::Vault;

/// The way out, as the sandbox's gate knows it.
pub(super) trait Outside: Send + Sync {
    /// Whether the sandbox may reach this target now.
    fn check(&self, target: &Target) -> Verdict;

    /// Connects to an address that was resolved for the target and that the policy allows.
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Reached, Undialled>>;

    /// Connects to a name that the sandbox's maker gave, which the policy need not allow.
    fn dial_given<'a>(
        &'a self,
        name: &'a HostName,
        port: u16,
    ) -> BoxFuture<'a, Result<Reached, Undialled>>;

    /// Ends when the target is refused, or the address that it was reached at: for what lasts longer than a request.
    fn until_refused<'a>(&'a self, target: &'a Target, at: Option<IpAddr>) -> BoxFuture<'a, ()>;
}

impl Outside for Shared {
    fn check(&self, target: &Target) -> Verdict {
        self.check(target)
    }

    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Reached, Undialled>> {
        Box::pin(async move { self.dial_target(target).await.map_err(Undialled::from) })
    }

    fn dial_given<'a>(
        &'a self,
        name: &'a HostName,
        port: u16,
    ) -> BoxFuture<'a, Result<Reached, Undialled>> {
        Box::pin(async move {
            let dialled = Self::dial_given(self, name, port).await;
            dialled.map_err(Undialled::from)
        })
    }

    fn until_refused<'a>(&'a self, target: &'a Target, at: Option<IpAddr>) -> BoxFuture<'a, ()> {
        Box::pin(self.until_refused(target, at))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undialled {
    /// None of the target's addresses is allowed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nobody answered there; in words for the guest.
    #[error("{0}")]
    Failed(String),
}

impl From<DialError> for Undialled {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Refused(refusal) => Self::Refused(refusal),
            other => Self::Failed(other.to_string()),
        }
    }
}

/// What all opened connections of a sandbox share.
#[derive(Clone)]
pub(super) struct Common {
    /// The sandbox's authority.
    pub(super) authority: Arc<Authority>,
    /// How upstreams are verified; ALPN is set for each connection.
    pub(super) upstream_tls: Arc<ClientConfig>,
    /// What may be put into requests.
    pub(super) vault: Vault,
    /// The way out.
    pub(super) outside: Arc<dyn Outside>,
    /// Places for requests under way.
    pub(super) requests: Arc<Semaphore>,
    /// Places for bodies that are signed.
    pub(super) signing: Arc<Semaphore>,
    /// Where requests are told.
    pub(super) audit: Audit,
}

/// What is known of a connection before its first request.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    /// What its first bytes are.
    pub(super) wire: Wire,
    /// The port that the guest connected to.
    pub(super) port: u16,
    /// The host that the connection was decided for; a cleartext one is asked with each request.
    pub(super) host: Option<Host>,
    /// Where a request of HTTP/1.0 goes that names no host.
    pub(super) fallback: Option<Target>,
}

/// What an opened connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// A ClientHello.
    Tls,
    /// The head of an HTTP/1 request.
    Http1,
    /// HTTP/2's preface.
    Http2,
}

impl Common {
    /// What the gate's connections share.
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Self {
            authority: Arc::clone(&shared.authority),
            upstream_tls: Arc::clone(&shared.upstream_tls),
            vault: shared.vault.clone(),
            outside: Arc::clone(shared) as Arc<dyn Outside>,
            requests: Arc::clone(&shared.requests),
            signing: Arc::clone(&shared.signing),
            audit: shared.audit.clone(),
        }
    }
}

impl Opened {
    /// What the gate knows of a connection.
    pub(super) fn of(session: &Session) -> Self {
        let (wire, host, port) = match &session.opening {
            Opening::Tls { target, .. } => (Wire::Tls, Some(target.host.clone()), target.port),
            Opening::Http1 => (Wire::Http1, None, session.destination.port()),
            Opening::Http2 => (Wire::Http2, None, session.destination.port()),
        };
        Self {
            wire,
            port,
            host,
            fallback: session.fallback.clone(),
        }
    }

    /// The one target of a TLS connection.
    pub(super) fn target(&self) -> Option<Target> {
        self.host.clone().map(|host| Target {
            host,
            port: self.port,
        })
    }

    /// Whether the guest speaks TLS.
    pub(super) fn secure(&self) -> bool {
        self.wire == Wire::Tls
    }
}
