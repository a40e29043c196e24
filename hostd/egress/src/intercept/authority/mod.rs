//! One sandbox's certificate authority, and the leaves that it signs for the hosts whose TLS is opened.
//!
//! The authority's key exists in this process's memory only: it is never written, sent or printed,
//! and wiped at the end. All leaves share one key, so that a new host costs one signature.

mod certificate;
mod key;
mod leaves;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::Issuer;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use key::Key;
use leaves::Leaves;

use super::tls;

/// Why an authority or a leaf could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The system gave no entropy.
    #[error("no entropy for a key")]
    Entropy,
    /// rustls or PKCS #8 refused a key that we made.
    #[error("a key that nobody takes")]
    Key,
    /// A host that no certificate can name.
    #[error("a host that no certificate can name")]
    Name,
    /// rustls refused its own defaults.
    #[error("no configuration for TLS")]
    Tls(#[source] rustls::Error),
    /// The certificate could not be encoded or signed.
    #[error("a certificate that cannot be signed")]
    Sign(#[source] rcgen::Error),
}

/// A sandbox's certificate authority.
///
/// A forked sandbox whose processes already trust its parent's authority shares it: hence `Arc`s of it are passed around.
pub struct Authority {
    issuer: Issuer<'static, Key>,
    certificate: rcgen::Certificate,
    leaf_key: Key,
    leaf_signer: Arc<dyn rustls::sign::SigningKey>,
    leaves: Mutex<Leaves>,
    base_config: ServerConfig,
}

impl Authority {
    /// A fresh authority for `sandbox`, valid since a day ago and for ten years less that day.
    pub fn generate(sandbox: &str) -> Result<Self, AuthorityError> {
        let key = Key::generate()?;
        let leaf_key = Key::generate()?;
        let leaf_signer = leaf_key.for_rustls()?;
        let params = certificate::authority(sandbox, OffsetDateTime::now_utc())?;
        let certificate = params.self_signed(&key).map_err(AuthorityError::Sign)?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
            leaf_key,
            leaf_signer,
            leaves: Mutex::new(Leaves::default()),
            base_config: tls::base_config().map_err(AuthorityError::Tls)?,
        })
    }

    /// What the guest is to trust, as PEM text.
    pub fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    /// What the guest is to trust, as DER.
    pub fn certificate_der(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }

    /// A leaf for exactly `host` with its key, from the cache or freshly signed (about a tenth of a millisecond).
    pub fn leaf(&self, host: &ServerName<'static>) -> Result<Arc<CertifiedKey>, AuthorityError> {
        let now = OffsetDateTime::now_utc();
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(leaf) = leaves.get(host, now) {
            return Ok(leaf);
        }
        let leaf = Arc::new(self.sign(host, now)?);
        leaves.insert(host.clone(), Arc::clone(&leaf), now);
        Ok(leaf)
    }

    /// What the TLS of all hosts has in common, the memory of sessions included.
    pub(super) fn base_config(&self) -> &ServerConfig {
        &self.base_config
    }

    fn sign(
        &self,
        host: &ServerName<'static>,
        now: OffsetDateTime,
    ) -> Result<CertifiedKey, AuthorityError> {
        let params = certificate::leaf(host, now)?;
        let leaf = params
            .signed_by(&self.leaf_key, &self.issuer)
            .map_err(AuthorityError::Sign)?;
        Ok(CertifiedKey::new(
            vec![leaf.into()],
            Arc::clone(&self.leaf_signer),
        ))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
