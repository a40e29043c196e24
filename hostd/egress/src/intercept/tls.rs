//! TLS with the guest, in the upstream's name.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::authority::{Authority, AuthorityError};
use super::protocol::Protocol;
use crate::policy::Host;

/// The part of a server's configuration that is the same for all hosts: sessions are resumed across connections.
///
/// rustls resumes a session for the name that it was made for only.
pub(super) fn base_config() -> Result<ServerConfig, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder
        .with_safe_default_protocol_versions()?
        .with_no_client_auth();
    Ok(builder.with_cert_resolver(Arc::new(NoLeaf)))
}

/// A configuration that shows the guest a leaf for `host` and speaks `protocol` alone.
pub(super) fn config_for(
    authority: &Authority,
    host: &ServerName<'static>,
    protocol: Protocol,
) -> Result<Arc<ServerConfig>, AuthorityError> {
    let mut config = authority.base_config().clone();
    config.cert_resolver = Arc::new(Leaf(authority.leaf(host)?));
    config.alpn_protocols = vec![protocol.alpn().to_vec()];
    Ok(Arc::new(config))
}

/// A host as a certificate names it; `None` for a name that rustls would not verify.
pub(super) fn server_name(host: &Host) -> Option<ServerName<'static>> {
    match host {
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned()).ok(),
        Host::Ip(address) => Some(ServerName::IpAddress((*address).into())),
    }
}

/// One host's leaf, whatever the client asks for: the connection's name was decided before.
struct Leaf(Arc<CertifiedKey>);

impl ResolvesServerCert for Leaf {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leaf")
    }
}

/// Stands in the base configuration, which is never used itself.
#[derive(Debug)]
struct NoLeaf;

impl ResolvesServerCert for NoLeaf {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
