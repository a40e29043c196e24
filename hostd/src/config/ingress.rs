//! How sandboxes are reached from outside.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};

use super::Args;
use crate::ingress::Domain;

/// An address, and the domain whose hosts lead to it.
#[derive(Clone, Debug)]
pub struct IngressConfig {
    /// Where to listen.
    pub address: SocketAddr,
    /// What the names of sandboxes end with.
    pub domain: Domain,
    /// For HTTPS; without, something before hostd speaks TLS.
    pub tls: Option<Arc<ServerConfig>>,
}

/// Why they are not.
#[derive(Debug, thiserror::Error)]
pub enum IngressError {
    /// A file that cannot be used.
    #[error("{option} {}", path.display())]
    Pem {
        /// Which option names it.
        option: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The two do not belong together, or are of no kind that is known.
    #[error("--ingress-cert with --ingress-key")]
    Tls(#[from] rustls::Error),
}

impl IngressConfig {
    /// What the options say; nothing without `--ingress`.
    ///
    /// # Errors
    /// [`IngressError`]: certificate and key cannot be used.
    pub fn from_args(args: &Args) -> Result<Option<Self>, IngressError> {
        let (Some(address), Some(domain)) = (args.ingress, args.ingress_domain.clone()) else {
            return Ok(None);
        };
        let tls = match (&args.ingress_cert, &args.ingress_key) {
            (Some(cert), Some(key)) => Some(Arc::new(tls(cert, key)?)),
            _ => None,
        };
        Ok(Some(Self {
            address,
            domain,
            tls,
        }))
    }
}

fn tls(cert: &Path, key: &Path) -> Result<ServerConfig, IngressError> {
    let failed = |option, path: &Path| {
        let path = path.to_owned();
        move |source| IngressError::Pem {
            option,
            path,
            source,
        }
    };
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed("--ingress-cert", cert))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(failed("--ingress-key", key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
