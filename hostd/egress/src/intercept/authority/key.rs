//! A P-256 key whose secret half lives in memory that is wiped when it is dropped.
//!
//! rcgen's own key pair keeps the scalar inside ring, which does not wipe it: hence p256's.

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePrivateKey as _;
use rcgen::{PublicKeyData, SignatureAlgorithm};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

use super::AuthorityError;

/// Signs certificates; has no `Debug`, is not cloned and not serialized.
pub(super) struct Key {
    secret: SigningKey,
    /// The public point, uncompressed (SEC 1): what a certificate holds.
    public: Vec<u8>,
}

impl Key {
    /// A fresh key of the system's entropy.
    pub(super) fn generate() -> Result<Self, AuthorityError> {
        let mut scalar = Zeroizing::new([0u8; 32]);
        // One in 2^32 draws is not a scalar of the group; a few draws never fail in practice.
        for _ in 0..8 {
            getrandom::fill(&mut *scalar).map_err(|_| AuthorityError::Entropy)?;
            if let Ok(secret) = SigningKey::from_slice(&*scalar) {
                let public = secret
                    .verifying_key()
                    .to_encoded_point(false)
                    .as_bytes()
                    .to_vec();
                return Ok(Self { secret, public });
            }
        }
        Err(AuthorityError::Entropy)
    }

    /// The same key for rustls, which signs with ring: the caller's copy is wiped, ring's is not.
    /// Good enough for a leaf's key, which is worth nothing without the authority.
    pub(super) fn for_rustls(
        &self,
    ) -> Result<std::sync::Arc<dyn rustls::sign::SigningKey>, AuthorityError> {
        let secret = p256::SecretKey::from(&self.secret);
        let der = secret.to_pkcs8_der().map_err(|_| AuthorityError::Key)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der.as_bytes()));
        rustls::crypto::ring::sign::any_ecdsa_type(&key).map_err(|_| AuthorityError::Key)
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self
            .secret
            .try_sign(message)
            .map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.to_der().as_bytes().to_vec())
    }
}
