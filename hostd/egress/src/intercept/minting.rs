//! Tokens for secrets that are made on demand: signed here, or got from a token endpoint.

use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

use super::body::Body;
use super::limits;
use super::problem::Problem;
use super::protocol::Protocol;
use super::session::{Common, Outside, Undialled};
use super::tasks::Scope;
use super::upstream::{Pool, UpstreamError};
use crate::gate::Reached;
use crate::policy::{Host, Target, Verdict};
use crate::processors::{Granted, OAuth2, Processor, TokenError};
use crate::secrets::{Secret, SecretValue};

/// The token that stands for a secret now; nothing, if it is no secret with tokens.
pub(super) async fn token(
    secret: &Secret,
    common: &Common,
) -> Result<Option<SecretValue>, Problem> {
    let (value, placeholder) = (secret.value().clone(), secret.placeholder());
    let made = match secret.processor() {
        Processor::Jwt(jwt) => {
            let (jwt, tokens) = (jwt.clone(), jwt.tokens());
            let make = async move { jwt.grant(&value) };
            tokens.get(placeholder, make).await
        }
        Processor::OAuth2(oauth2) => {
            let (common, tokens) = (common.clone(), oauth2.tokens());
            let make = ask(oauth2.clone(), value, common);
            tokens.get(placeholder, make).await
        }
        Processor::Inject | Processor::Hmac(_) | Processor::SigV4(_) => return Ok(None),
    };
    made.map(Some).map_err(|error| Problem::Token {
        secret: secret.name().clone(),
        error,
    })
}

/// Asks a token endpoint: verified as every upstream is, on a connection of its own.
async fn ask(oauth2: OAuth2, value: SecretValue, common: Common) -> Result<Granted, TokenError> {
    let (head, body) = oauth2.request(&value)?;
    let request = Request::from_parts(head, Body::whole(body.as_bytes().to_vec().into()));
    let outside = Arc::new(Given(Arc::clone(&common.outside)));
    let scope = Scope::new();
    let pool = Pool::new(Common { outside, ..common }, true, scope.0.clone());
    let target = oauth2.spec().endpoint.target();
    let asking = async {
        let sent = pool.send(target, Protocol::Http1, Box::new(request)).await;
        let answer = sent.map_err(|error| {
            // The details are for whoever named the endpoint, and not for the guest.
            tracing::warn!(endpoint = %oauth2.spec().endpoint, %error, "no answer of a token endpoint");
            unreachable(&error)
        })?;
        let (head, body) = answer.response.into_parts();
        // What is not a token is of interest up to its error's word.
        let body = Limited::new(body, limits::TOKEN_ANSWER).collect().await;
        Ok((head.status, body))
    };
    let (status, body) = pool.drivers().along(asking).await?;
    match body {
        Ok(body) => OAuth2::read(status, &body.to_bytes()),
        Err(_) if status != StatusCode::OK => OAuth2::read(status, &[]),
        Err(error) if error.is::<LengthLimitError>() => Err(TokenError::Answer("is too long")),
        Err(_) => Err(TokenError::Answer("broke off")),
    }
}

/// What a guest is told of it: nothing of addresses.
fn unreachable(error: &UpstreamError) -> TokenError {
    match error {
        UpstreamError::Timeout => TokenError::Slow,
        UpstreamError::Certificate(_) => {
            TokenError::Unreachable("showed a certificate that is not valid")
        }
        UpstreamError::Dial(_) => TokenError::Unreachable("could not be reached"),
        UpstreamError::Tls(_)
        | UpstreamError::Name
        | UpstreamError::Protocol
        | UpstreamError::Http(_) => TokenError::Unreachable("broke off"),
    }
}

/// The way out for what the sandbox's maker named.
struct Given(Arc<dyn Outside>);

impl Outside for Given {
    fn check(&self, _target: &Target) -> Verdict {
        Ok(())
    }

    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Reached, Undialled>> {
        match &target.host {
            Host::Name(name) => self.0.dial_given(name, target.port),
            // No endpoint is one.
            Host::Ip(_) => self.0.dial(target),
        }
    }

    fn dial_given<'a>(
        &'a self,
        name: &'a crate::policy::HostName,
        port: u16,
    ) -> BoxFuture<'a, Result<Reached, Undialled>> {
        self.0.dial_given(name, port)
    }

    fn until_refused<'a>(&'a self, _target: &'a Target, _at: Option<IpAddr>) -> BoxFuture<'a, ()> {
        // One question and its answer, within a token's time limit.
        Box::pin(std::future::pending())
    }
}
