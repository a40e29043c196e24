//! What is made of a secret's value where its placeholder is. Pure: values, heads and bodies in; tokens and signatures out.
//!
//! | [`Processor`] | the placeholder in a request becomes | by |
//! |---|---|---|
//! | [`Processor::Inject`] | the value | |
//! | [`Processor::Hmac`] | a MAC of the body, with the value as its key | RFC 2104, RFC 4231 |
//! | [`Processor::SigV4`] | the access key id of a request that is signed again, with the value as its secret key | AWS Signature Version 4 |
//! | [`Processor::Jwt`] | a token that is signed with the value | RFC 7519, RFC 7515 |
//! | [`Processor::OAuth2`] | an access token that was got with the value | RFC 6749, RFC 7523 |
//!
//! With all but the first the value itself never leaves this host, not even to the host that the secret is bound to; an
//! OAuth 2.0 value goes to its token endpoint alone. What is made is for the hosts, methods, paths and headers of the
//! secret, as a value is, and a token that a host repeats becomes the placeholder again.
//!
//! Tokens are kept while they are good, in [`tokens::Tokens`]: it is the secret's own, so a sandbox that inherits a
//! secret has the same tokens, and one that gets another value begins without.

mod jwt;
mod mac;
mod oauth2;
mod sigv4;
mod tokens;

pub use self::jwt::{Jwt, JwtAlgorithm, JwtError, JwtSpec};
pub use self::mac::{Hmac, HmacAlgorithm, HmacEncoding};
pub use self::oauth2::{
    ClientAuth, Endpoint, EndpointError, Grant, OAuth2, OAuth2Error, OAuth2Spec,
};
pub(crate) use self::sigv4::{AWS_PAYLOAD, Payload, SigV4Asked};
pub use self::sigv4::{SigV4, SigV4Error};
pub(crate) use self::tokens::{Granted, TokenError, Tokens};

use std::sync::Arc;

/// What is made of a value.
#[derive(Debug, Clone, Default)]
pub enum Processor {
    /// The value itself.
    #[default]
    Inject,
    /// A MAC of each request's body.
    Hmac(Hmac),
    /// A signature of each request.
    SigV4(SigV4),
    /// A token that is signed here.
    Jwt(Jwt),
    /// A token that is got from an authorisation server.
    OAuth2(OAuth2),
}

impl Processor {
    /// Whether a placeholder waits for something to be made before it is replaced.
    pub(crate) fn is_on_demand(&self) -> bool {
        !matches!(self, Self::Inject)
    }

    /// Whether a host gets something that it could repeat: a value, or a token.
    pub(crate) fn is_sent(&self) -> bool {
        !matches!(self, Self::Hmac(_) | Self::SigV4(_))
    }

    /// The tokens that were made, if it makes some.
    pub(crate) fn tokens(&self) -> Option<&Arc<Tokens>> {
        match self {
            Self::Jwt(jwt) => Some(jwt.tokens()),
            Self::OAuth2(oauth2) => Some(oauth2.tokens()),
            Self::Inject | Self::Hmac(_) | Self::SigV4(_) => None,
        }
    }
}
