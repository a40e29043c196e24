//! [`Jwt`]: tokens that are signed with a secret's value.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, crypto};
use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;

use super::{Granted, TokenError, Tokens};
use crate::secrets::SecretValue;

/// How long a token may live: long enough to be of use once it is kept for a while, and no longer than a day.
const LIFETIMES: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(24 * 3600);
/// Bytes of all claims together: a header has to hold the token.
const MAX_CLAIMS: usize = 8 << 10;
/// How far in the past a token is signed: servers refuse those of the future, and clocks differ.
const BACKDATED: Duration = Duration::from_secs(30);
/// Claims that say until when a token is good: these are the processor's own.
const TIMES: [&str; 3] = ["exp", "iat", "nbf"];

/// How tokens are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256; the value is the key.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256; the value is a private key in PEM.
    Rs256,
    /// ECDSA with P-256 and SHA-256; the value is a private key in PEM (PKCS #8).
    Es256,
    /// Ed25519; the value is a private key in PEM (PKCS #8).
    EdDsa,
}

/// What a token says (RFC 7519, section 4.1). Empty texts are left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSpec {
    /// How it is signed.
    pub algorithm: JwtAlgorithm,
    /// `kid` of its header.
    pub key_id: String,
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `aud`.
    pub audience: String,
    /// `scope`, as Google's service accounts have it.
    pub scope: String,
    /// Any others.
    pub claims: Map<String, Value>,
    /// From `iat` to `exp`: a minute to a day.
    pub lifetime: Duration,
}

/// Signs tokens.
#[derive(Debug, Clone)]
pub struct Jwt {
    spec: Arc<JwtSpec>,
    tokens: Arc<Tokens>,
}

/// What no token can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JwtError {
    /// A lifetime that is too short or too long.
    #[error("a token's lifetime is a minute to a day")]
    Lifetime,
    /// Claims that no header could hold.
    #[error("the claims have more than {MAX_CLAIMS} bytes")]
    TooLong,
    /// A claim that the processor makes itself.
    #[error("`exp`, `iat` and `nbf` follow from the lifetime")]
    Times,
    /// A value that is no such key. Says nothing of it.
    #[error("the value is no private key for this algorithm: PEM, PKCS #8 (RSA: or PKCS #1)")]
    Key,
}

#[derive(Serialize)]
struct Claims<'a> {
    #[serde(flatten)]
    claims: &'a Map<String, Value>,
    #[serde(skip_serializing_if = "str::is_empty")]
    iss: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    sub: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    aud: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    iat: u64,
    exp: u64,
}

impl Jwt {
    /// Makes such tokens.
    ///
    /// # Errors
    /// [`JwtError`], but for its key.
    pub fn new(spec: JwtSpec) -> Result<Self, JwtError> {
        if !LIFETIMES.contains(&spec.lifetime) {
            return Err(JwtError::Lifetime);
        }
        if TIMES.iter().any(|name| spec.claims.contains_key(*name)) {
            return Err(JwtError::Times);
        }
        let jwt = Self {
            spec: Arc::new(spec),
            tokens: Arc::default(),
        };
        let claims = jwt.claims(SystemTime::now());
        if claims.len() + jwt.spec.key_id.len() > MAX_CLAIMS {
            return Err(JwtError::TooLong);
        }
        Ok(jwt)
    }

    /// What its tokens say.
    pub fn spec(&self) -> &JwtSpec {
        &self.spec
    }

    /// Those that were made.
    pub(crate) fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// Whether tokens can be signed with this value.
    pub(crate) fn check(&self, value: &SecretValue) -> Result<(), JwtError> {
        self.sign(value, SystemTime::now()).map(drop)
    }

    /// A fresh token.
    pub(crate) fn grant(&self, value: &SecretValue) -> Result<Granted, TokenError> {
        let token = self.sign(value, SystemTime::now());
        let token = token.map_err(|_| TokenError::Key)?;
        Ok(Granted {
            token: SecretValue::new(token).map_err(|_| TokenError::Key)?,
            lifetime: Some(self.spec.lifetime.saturating_sub(BACKDATED)),
            refresh: None,
        })
    }

    /// A token in compact form (RFC 7515, section 7.1).
    pub(super) fn sign(&self, value: &SecretValue, now: SystemTime) -> Result<String, JwtError> {
        let header = Header {
            kid: Some(self.spec.key_id.clone()).filter(|id| !id.is_empty()),
            ..Header::new(self.spec.algorithm.into())
        };
        let header = serde_json::to_vec(&header).map_err(|_| JwtError::Key)?;
        let parts = [header, self.claims(now)].map(|part| URL_SAFE_NO_PAD.encode(part));
        self.spec.algorithm.sign(value, &parts.join("."))
    }

    fn claims(&self, now: SystemTime) -> Vec<u8> {
        let spec = &self.spec;
        let since = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let iat = since.saturating_sub(BACKDATED);
        let claims = Claims {
            claims: &spec.claims,
            iss: &spec.issuer,
            sub: &spec.subject,
            aud: &spec.audience,
            scope: &spec.scope,
            iat: iat.as_secs(),
            exp: (iat + spec.lifetime).as_secs(),
        };
        // Texts and numbers are always JSON.
        serde_json::to_vec(&claims).unwrap_or_default()
    }
}

impl JwtAlgorithm {
    fn sign(self, value: &SecretValue, input: &str) -> Result<String, JwtError> {
        let value = value.expose();
        let key = match self {
            Self::Hs256 => Ok(EncodingKey::from_secret(value)),
            Self::Rs256 => EncodingKey::from_rsa_pem(value),
            Self::Es256 => EncodingKey::from_ec_pem(value),
            Self::EdDsa => EncodingKey::from_ed_pem(value),
        };
        let signature = key.and_then(|key| crypto::sign(input.as_bytes(), &key, self.into()));
        let signature = signature.map_err(|_| JwtError::Key)?;
        Ok(format!("{input}.{signature}"))
    }
}

impl From<JwtAlgorithm> for Algorithm {
    fn from(algorithm: JwtAlgorithm) -> Self {
        match algorithm {
            JwtAlgorithm::Hs256 => Self::HS256,
            JwtAlgorithm::Rs256 => Self::RS256,
            JwtAlgorithm::Es256 => Self::ES256,
            JwtAlgorithm::EdDsa => Self::EdDSA,
        }
    }
}

#[cfg(test)]
mod tests;
