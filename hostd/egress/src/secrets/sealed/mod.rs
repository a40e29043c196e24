//! Sealed secrets: values that only the host that they are for can read.
//!
//! Whoever knows a host's public key seals a value for it, with the secret's name and hosts. What stores and sends the
//! sealed text never has the value, and cannot aim it at another host, because name and hosts are authenticated with it.
//!
//! HPKE (RFC 9180) in base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305. The text is
//!
//! ```text
//! thaw-sealed-1 . base64url(head) . base64url(encapsulated key, 32 bytes; ciphertext; tag, 16 bytes)
//!                 {"key":ID,"name":"API_KEY","hosts":["api.example"],"organisation":"acme"}
//! ```
//!
//! where all before the second dot is HPKE's associated data, and its info says what this is.

mod error;
mod key;
mod text;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, OpModeR, OpModeS, Serializable as _};

use super::{Hosts, SecretValue};
use crate::audit::SecretName;

pub use error::{KeyError, SealedError, UnsealError};
pub use key::{PublicKey, SealingKey};
pub use text::{MAX_SEALED, Sealed};

type Kem = X25519HkdfSha256;
/// HPKE's `info`: keys of this host that were used for something else would open nothing.
const INFO: &[u8] = b"thaw sealed secret 1";

impl PublicKey {
    /// Seals a value for the host that has the private key, to be used by an organisation of that host's, or by its operator alone.
    ///
    /// # Errors
    /// [`SealedError::Random`]: the system has no random bytes.
    pub fn seal(
        &self,
        name: &SecretName,
        hosts: &Hosts,
        organisation: Option<&str>,
        value: &SecretValue,
    ) -> Result<Sealed, SealedError> {
        let mut sealed = Sealed::unfinished(self.id(), name, hosts, organisation);
        let (encapsulated, ciphertext) =
            hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, Kem>(
                &OpModeS::Base,
                self.key(),
                INFO,
                value.expose(),
                sealed.head_text().as_bytes(),
            )
            .map_err(|_| SealedError::Random)?;
        sealed.finish(&encapsulated.to_bytes(), &ciphertext);
        Ok(sealed)
    }
}

impl SealingKey {
    /// The value that was sealed for this host.
    ///
    /// # Errors
    /// [`UnsealError`]: it is for another host, or was altered.
    pub fn unseal(&self, sealed: &Sealed) -> Result<SecretValue, UnsealError> {
        let (for_key, this) = (sealed.key_id(), self.public().id());
        if for_key != this {
            let for_key = for_key.to_owned();
            return Err(UnsealError::OtherKey { for_key, this });
        }
        let (encapsulated, ciphertext) = sealed.parts();
        let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated);
        let opened = encapsulated.and_then(|encapsulated| {
            hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, Kem>(
                &OpModeR::Base,
                self.key(),
                &encapsulated,
                INFO,
                ciphertext,
                sealed.head_text().as_bytes(),
            )
        });
        // Taken over as it is, and wiped with the value.
        let value = SecretValue::new(opened.map_err(|_| UnsealError::Altered)?);
        Ok(value?)
    }
}

#[cfg(test)]
mod tests;
