//! [`SealingKey`] and [`PublicKey`]: a host's pair.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hpke::{Deserializable as _, Kem as _, Serializable as _};
use zeroize::Zeroizing;

use super::{Kem, KeyError};

/// Bytes of either key.
const LENGTH: usize = 32;
/// Characters of a key's id.
const ID: usize = 12;
const PREFIX: &str = "thaw-key-1.";

/// A host's private key. It is wiped when it is dropped, and no `Debug` shows it.
pub struct SealingKey {
    private: <Kem as hpke::Kem>::PrivateKey,
    public: PublicKey,
}

/// What values are sealed with: may be known to everybody. Its text is `thaw-key-1.` and its 32 bytes in base64url.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(<Kem as hpke::Kem>::PublicKey);

impl SealingKey {
    /// A fresh one.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut seed = Zeroizing::new([0; LENGTH]);
        getrandom::fill(&mut *seed)?;
        let (private, public) = Kem::derive_keypair(&*seed);
        let public = PublicKey(public);
        Ok(Self { private, public })
    }

    /// The one that was kept as these bytes.
    ///
    /// # Errors
    /// [`KeyError::Length`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let private = <Kem as hpke::Kem>::PrivateKey::from_bytes(bytes)
            .map_err(|_| KeyError::Length(bytes.len()))?;
        let public = PublicKey(Kem::sk_to_pk(&private));
        Ok(Self { private, public })
    }

    /// What to keep, where only this host can read it.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.private.to_bytes().to_vec())
    }

    /// What to give to those who seal.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn key(&self) -> &<Kem as hpke::Kem>::PrivateKey {
        &self.private
    }
}

impl PublicKey {
    /// Tells keys apart: the first 12 characters of it.
    pub fn id(&self) -> String {
        self.base64().chars().take(ID).collect()
    }

    pub(super) fn key(&self) -> &<Kem as hpke::Kem>::PublicKey {
        &self.0
    }

    fn base64(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.to_bytes())
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let text = text.trim().strip_prefix(PREFIX).ok_or(KeyError::Text)?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Text)?;
        let key = <Kem as hpke::Kem>::PublicKey::from_bytes(&bytes);
        key.map(Self).map_err(|_| KeyError::Text)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.base64())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey(… of {})", self.public)
    }
}
