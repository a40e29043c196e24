//! What all sandboxes share: the resolver, the trusted roots, the audit.

use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use tokio::sync::Semaphore;

use super::{HostAddresses, Limits, Shared};
use crate::audit::AuditLog;
use crate::intercept::authority::Authority;
use crate::policy::{LivePolicy, Policy};
use crate::resolver::{Names, Rates, Servers, SetupError, Upstream};
use crate::secrets::Vault;

/// How the host's side is set up.
#[derive(Debug, Clone, Default)]
pub struct EgressConfig {
    /// Which DNS servers are asked.
    pub servers: Servers,
    /// Roots that are trusted besides the system's.
    pub extra_roots: Vec<CertificateDer<'static>>,
}

/// What all sandboxes of a host share. A clone is another handle of the same.
#[derive(Clone)]
pub struct Egress {
    resolver: Upstream,
    upstream_tls: Arc<ClientConfig>,
    host: Arc<HostAddresses>,
    audit: AuditLog,
}

/// Why the host's side cannot be set up.
#[derive(Debug, Error)]
pub enum EgressError {
    /// No resolver.
    #[error(transparent)]
    Resolver(#[from] SetupError),
    /// The system does not tell the host's addresses.
    #[error("cannot read the host's own addresses")]
    Addresses(#[source] io::Error),
    /// A configured root is no certificate.
    #[error("a configured root is no certificate")]
    Root(#[source] rustls::Error),
    /// rustls refused its own defaults.
    #[error("no configuration for TLS")]
    Tls(#[source] rustls::Error),
}

impl Egress {
    /// Sets the host's side up.
    ///
    /// # Errors
    /// [`EgressError`] says which part failed.
    pub fn new(config: &EgressConfig) -> Result<Self, EgressError> {
        Ok(Self {
            resolver: Upstream::new(&config.servers)?,
            upstream_tls: Arc::new(client_config(&config.extra_roots)?),
            host: Arc::new(HostAddresses::read().map_err(EgressError::Addresses)?),
            audit: AuditLog::default(),
        })
    }

    /// The events of all sandboxes.
    pub fn audit(&self) -> &AuditLog {
        &self.audit
    }

    /// What the connections of one sandbox share.
    pub fn sandbox(
        &self,
        name: &str,
        policy: Policy,
        vault: Vault,
        authority: Arc<Authority>,
        limits: Limits,
    ) -> Shared {
        Shared {
            sandbox: name.into(),
            policy: LivePolicy::new(policy),
            vault,
            authority,
            resolver: self.resolver.clone(),
            names: Names::default(),
            rates: Rates::new(&limits),
            hosts: Arc::new(Semaphore::new(limits.hosts)),
            requests: Arc::new(Semaphore::new(limits.requests)),
            signing: Arc::new(Semaphore::new(limits.signing)),
            audit: self.audit.sandbox(name),
            limits,
            upstream_tls: self.upstream_tls.clone(),
            host: self.host.clone(),
        }
    }
}

/// The system's roots and these. Single roots of the system that cannot be read are left out, as
/// every program does; a host with none at all reaches nothing by TLS, and that is told then.
fn client_config(extra: &[CertificateDer<'static>]) -> Result<ClientConfig, EgressError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "a root of the system cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    for root in extra {
        roots.add(root.clone()).map_err(EgressError::Root)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(EgressError::Tls)?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}
