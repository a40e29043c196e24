//! [`OAuth2`]: access tokens, got from an authorisation server with a secret's value.
//!
//! The guest neither knows the server nor reaches it: hostd asks it when a request needs a token first, keeps the token
//! until shortly before its end, and forgets it when a host refuses it (401). A refresh token that the server puts in the
//! place of the old one is kept in memory alone: it is lost with hostd, and the creator's own one stays what it was.

mod answer;
mod endpoint;

pub use self::endpoint::{Endpoint, EndpointError};

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use form_urlencoded::{Serializer, byte_serialize};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, request};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Granted, Jwt, JwtError, TokenError, Tokens};
use crate::secrets::SecretValue;

/// Bytes of a client's id and of all scopes together.
const MAX_TEXT: usize = 4 << 10;

/// How a token is got, and for what.
#[derive(Debug, Clone)]
pub struct OAuth2Spec {
    /// The token endpoint.
    pub endpoint: Endpoint,
    /// Who asks; may be empty with [`Grant::JwtBearer`].
    pub client_id: String,
    /// The client's own secret, where the value is another one.
    pub client_secret: Option<SecretValue>,
    /// Where the client's secret is put.
    pub client_auth: ClientAuth,
    /// What the value is.
    pub grant: Grant,
    /// What the token is for; empty: what the server sees fit.
    pub scopes: Vec<String>,
}

/// What a token is got with.
#[derive(Debug, Clone)]
pub enum Grant {
    /// The value is a refresh token (RFC 6749, section 6).
    RefreshToken,
    /// The value is the client's secret (RFC 6749, section 4.4).
    ClientCredentials,
    /// The value is the key of such a token, which is the assertion (RFC 7523, section 2.1).
    JwtBearer(Jwt),
}

/// How a client proves to be itself (RFC 6749, section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientAuth {
    /// As Basic credentials, which every server has to take.
    #[default]
    Basic,
    /// In the body, as some servers want it.
    Body,
}

/// What no token can be got with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OAuth2Error {
    /// Nobody asks.
    #[error("no client id")]
    NoClient,
    /// A client's id or scopes that are no request.
    #[error("the client's id and scopes have more than {MAX_TEXT} bytes")]
    TooLong,
    /// A scope that would be several.
    #[error(
        "a scope is visible ASCII characters without space, `\"` and `\\` (RFC 6749, section 3.3)"
    )]
    Scope,
    /// A second client's secret.
    #[error("the value is the client's secret; there is no other one")]
    TwoSecrets,
}

/// Gets tokens.
#[derive(Debug, Clone)]
pub struct OAuth2 {
    spec: Arc<OAuth2Spec>,
    tokens: Arc<Tokens>,
}

impl OAuth2 {
    /// Gets such tokens.
    ///
    /// # Errors
    /// [`OAuth2Error`]: they cannot be asked for.
    pub fn new(spec: OAuth2Spec) -> Result<Self, OAuth2Error> {
        let scopes: usize = spec.scopes.iter().map(String::len).sum();
        if spec.client_id.len() + scopes > MAX_TEXT {
            return Err(OAuth2Error::TooLong);
        }
        if spec.client_id.is_empty() && !matches!(spec.grant, Grant::JwtBearer(_)) {
            return Err(OAuth2Error::NoClient);
        }
        if spec.client_secret.is_some() && matches!(spec.grant, Grant::ClientCredentials) {
            return Err(OAuth2Error::TwoSecrets);
        }
        let known = |byte: u8| byte.is_ascii_graphic() && !b"\"\\".contains(&byte);
        if !spec
            .scopes
            .iter()
            .all(|scope| !scope.is_empty() && scope.bytes().all(known))
        {
            return Err(OAuth2Error::Scope);
        }
        Ok(Self {
            spec: Arc::new(spec),
            tokens: Arc::default(),
        })
    }

    /// How tokens are got.
    pub fn spec(&self) -> &OAuth2Spec {
        &self.spec
    }

    /// Those that were got.
    pub(crate) fn tokens(&self) -> &Arc<Tokens> {
        &self.tokens
    }

    /// Whether this value can be used so.
    pub(crate) fn check(&self, value: &SecretValue) -> Result<(), JwtError> {
        match &self.spec.grant {
            Grant::JwtBearer(jwt) => jwt.check(value),
            Grant::RefreshToken | Grant::ClientCredentials => Ok(()),
        }
    }

    /// The request to the token endpoint, and its body.
    ///
    /// # Errors
    /// [`TokenError::Key`].
    pub(crate) fn request(
        &self,
        value: &SecretValue,
    ) -> Result<(request::Parts, Zeroizing<String>), TokenError> {
        let spec = &self.spec;
        let request = Request::builder()
            .method(Method::POST)
            .uri(spec.endpoint.path())
            .header(HOST, spec.endpoint.authority())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("thaw/", env!("CARGO_PKG_VERSION")));
        let (mut head, ()) = request.body(()).map_err(|_| TokenError::Key)?.into_parts();
        let mut form = Serializer::new(String::new());
        self.grant(&mut form, value)?;
        if !spec.scopes.is_empty() {
            form.append_pair("scope", &spec.scopes.join(" "));
        }
        let client_secret = match spec.grant {
            Grant::ClientCredentials => Some(value),
            Grant::RefreshToken | Grant::JwtBearer(_) => spec.client_secret.as_ref(),
        };
        match (client_secret, spec.client_auth) {
            (Some(secret), ClientAuth::Basic) => {
                head.headers
                    .insert(AUTHORIZATION, basic(&spec.client_id, secret)?);
            }
            (secret, _) => {
                if !spec.client_id.is_empty() {
                    form.append_pair("client_id", &spec.client_id);
                }
                if let Some(secret) = secret {
                    form.append_pair("client_secret", text(secret)?);
                }
            }
        }
        Ok((head, Zeroizing::new(form.finish())))
    }

    fn grant(
        &self,
        form: &mut Serializer<'_, String>,
        value: &SecretValue,
    ) -> Result<(), TokenError> {
        match &self.spec.grant {
            Grant::RefreshToken => {
                let newest = self.tokens.refresh();
                form.append_pair("grant_type", "refresh_token");
                form.append_pair("refresh_token", text(newest.as_ref().unwrap_or(value))?);
            }
            Grant::ClientCredentials => {
                form.append_pair("grant_type", "client_credentials");
            }
            Grant::JwtBearer(jwt) => {
                let assertion = jwt.sign(value, SystemTime::now());
                let assertion = Zeroizing::new(assertion.map_err(|_| TokenError::Key)?);
                form.append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer");
                form.append_pair("assertion", &assertion);
            }
        }
        Ok(())
    }
}

/// A value of a form; refresh tokens and clients' secrets are ASCII (RFC 6749, appendix A).
fn text(value: &SecretValue) -> Result<&str, TokenError> {
    std::str::from_utf8(value.expose()).map_err(|_| TokenError::Key)
}

/// Basic credentials of two form-encoded texts.
fn basic(client_id: &str, secret: &SecretValue) -> Result<HeaderValue, TokenError> {
    let encoded = |bytes: &[u8]| Zeroizing::new(byte_serialize(bytes).collect::<String>());
    let (id, secret) = (encoded(client_id.as_bytes()), encoded(secret.expose()));
    let pair = Zeroizing::new(format!("{}:{}", *id, *secret));
    let line = Zeroizing::new(format!("Basic {}", STANDARD.encode(&*pair)));
    let mut value = HeaderValue::from_str(&line).map_err(|_| TokenError::Key)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
