//! Why a request was not answered by its upstream, and what the guest is told.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};

use super::body::Body;
use super::session::Undialled;
use super::upstream::UpstreamError;
use crate::audit::{Outcome, Reason, SecretName};
use crate::policy::{Refusal, Target};
use crate::processors::{SigV4Error, TokenError};
use crate::rewrite::Unfit;

/// A request that ends here. The text names the culprit and never holds a secret, a query or a header's value.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// CONNECT asks for a tunnel to anywhere.
    #[error("the client sent CONNECT: connect directly, there is no proxy to configure")]
    Connect,
    /// TRACE would send back what the upstream received, secrets included.
    #[error("the client sent TRACE, which would echo secrets")]
    Trace,
    /// No host at all.
    #[error("the client named no host")]
    NoHost,
    /// Two hosts, or two spellings that differ.
    #[error("the client named more than one host")]
    SeveralHosts,
    /// Something that is no host.
    #[error("the client named a host that is none: {0}")]
    BadHost(&'static str),
    /// A request for another host than the one that the connection was opened for.
    #[error("the client asked for {asked} on a connection that was opened for {opened}")]
    Misdirected {
        /// What the request names.
        asked: Target,
        /// What the connection was verified for.
        opened: Target,
    },
    /// `http:` within TLS, or the other way round.
    #[error("the client asked for another scheme than the connection's")]
    Scheme,
    /// A transfer coding besides chunked cannot be passed on.
    #[error("the {0} used a transfer coding that is not chunked")]
    TransferCoding(Culprit),
    /// Every place for requests is taken.
    #[error("too many requests are under way")]
    TooManyRequests,
    /// The policy, as of this request.
    #[error("{target}: {refusal}")]
    Policy {
        /// What the request names.
        target: Target,
        /// The policy's reason.
        refusal: Refusal,
    },
    /// A body that has to be read as a whole first, and is too long for that.
    #[error("the client sent a body that becomes too long when it is rewritten")]
    BodyTooLong,
    /// A secret that makes the request another thing than a request.
    #[error("a secret cannot be put into the client's request: {0}")]
    Unfit(Unfit),
    /// A token that a secret stands for, and that nobody gave.
    #[error("the token of the secret {secret} cannot be had: {error}")]
    Token {
        /// Whose.
        secret: SecretName,
        /// Why not.
        error: TokenError,
    },
    /// A request that is not signed again.
    #[error("the client's request cannot be signed with the secret {secret}: {error}")]
    Signature {
        /// With which.
        secret: SecretName,
        /// Why not.
        error: SigV4Error,
    },
    /// A body that has to be signed as a whole, and is too long for that.
    #[error("the client sent a body that is too long to be signed: it has more than {} MiB", super::limits::SIGNED_BODY >> 20)]
    TooLongToSign,
    /// Every place for bodies that are signed is taken.
    #[error("too many bodies are being signed")]
    TooManyToSign,
    /// The guest's body ended early.
    #[error("the client's body broke off")]
    ClientBody,
    /// The upstream did not do its part.
    #[error("the upstream {target} {error}")]
    Upstream {
        /// Where it is.
        target: Target,
        /// What it did.
        error: UpstreamError,
    },
    /// An answer that makes no sense.
    #[error("the upstream's answer is not valid: {0}")]
    Answer(&'static str),
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Culprit {
    /// The guest's program.
    Client,
    /// The server.
    Upstream,
}

impl std::fmt::Display for Culprit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
        })
    }
}

impl Problem {
    /// What HTTP calls it.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Connect | Self::Trace => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoHost
            | Self::SeveralHosts
            | Self::BadHost(_)
            | Self::Scheme
            | Self::Unfit(_)
            | Self::Signature { .. }
            | Self::ClientBody => StatusCode::BAD_REQUEST,
            Self::Misdirected { .. } => StatusCode::MISDIRECTED_REQUEST,
            Self::TransferCoding(Culprit::Client) => StatusCode::NOT_IMPLEMENTED,
            Self::TooManyRequests | Self::TooManyToSign => StatusCode::TOO_MANY_REQUESTS,
            Self::Policy { .. } => StatusCode::FORBIDDEN,
            Self::Upstream {
                error: UpstreamError::Dial(Undialled::Refused(_)),
                ..
            } => StatusCode::FORBIDDEN,
            Self::BodyTooLong | Self::TooLongToSign => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Upstream {
                error: UpstreamError::Timeout,
                ..
            } => StatusCode::GATEWAY_TIMEOUT,
            Self::TransferCoding(Culprit::Upstream)
            | Self::Upstream { .. }
            | Self::Token { .. }
            | Self::Answer(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// What the audit is told.
    pub(super) fn outcome(&self) -> (Outcome, Reason) {
        match self {
            Self::Policy { refusal, .. } => (Outcome::Refused, Reason::Policy(refusal.clone())),
            Self::Upstream {
                error: UpstreamError::Dial(Undialled::Refused(refusal)),
                ..
            } => (Outcome::Refused, Reason::Policy(refusal.clone())),
            Self::Upstream { .. }
            | Self::Token { .. }
            | Self::Answer(_)
            | Self::TransferCoding(Culprit::Upstream)
            | Self::ClientBody => (Outcome::Failed, Reason::Other(self.code())),
            _ => (Outcome::Refused, Reason::Other(self.code())),
        }
    }

    /// A short word for counters.
    fn code(&self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Trace => "trace",
            Self::NoHost | Self::SeveralHosts | Self::BadHost(_) => "bad-host",
            Self::Misdirected { .. } => "misdirected",
            Self::Scheme => "scheme",
            Self::TransferCoding(_) => "transfer-coding",
            Self::TooManyRequests | Self::TooManyToSign => "too-many-requests",
            Self::Policy { .. } => "policy",
            Self::BodyTooLong | Self::TooLongToSign => "body-too-long",
            Self::Token { .. } => "token",
            Self::Signature { .. } => "signature",
            Self::Unfit(_) => "unfit",
            Self::ClientBody => "client-body",
            Self::Upstream { .. } => "upstream",
            Self::Answer(_) => "upstream-answer",
        }
    }

    /// The guest's answer: a line of text.
    pub(super) fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::whole(Bytes::from(format!("thaw: {self}\n"))));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}
