//! Who calls, and whether they may: a tower layer before every service.

use std::task::{Context, Poll};

use futures::future::{BoxFuture, Either, Ready, ready};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response, header};
use tonic::{Extensions, Status};
use tower::{Layer, Service};

use super::needs::{self, Need};
use super::while_admitted;
use crate::config::Token;
use crate::error::{Error, Result};
use crate::tenancy::{Caller, Tokens};

/// Tells the services who calls, and keeps out who may not.
#[derive(Clone, Debug)]
pub struct Auth {
    /// What is asked of callers; nothing where whoever reaches the listener is the operator.
    pub door: Option<Door>,
}

/// Where callers show a token.
#[derive(Clone, Debug)]
pub struct Door {
    /// The operator's; without, who gets here without a token is the operator (and has shown a certificate).
    pub operator: Option<Token>,
    /// The others'.
    pub tokens: Tokens,
}

impl Door {
    /// Who shows this in `authorization`.
    pub fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        let shown = headers.get(header::AUTHORIZATION);
        match (&self.operator, shown) {
            (None, None) => Some(Caller::operator()),
            (operator, Some(value)) => {
                let shown = bearer(value.as_bytes())?;
                let is_operator = operator.as_ref().is_some_and(|token| token.matches(shown));
                match is_operator {
                    true => Some(Caller::operator()),
                    false => self.tokens.caller(shown),
                }
            }
            (Some(_), None) => None,
        }
    }
}

impl<S> Layer<S> for Auth {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            door: self.door.clone(),
        }
    }
}

/// A service behind [`Auth`].
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    door: Option<Door>,
}

impl<S> Guarded<S> {
    /// Who calls, if that is of any matter.
    fn admit(&self, request: &mut Request<Body>) -> Result<Option<Caller>> {
        let need = needs::of(request.uri().path());
        let caller = match &self.door {
            None => Some(Caller::operator()),
            Some(door) => door.caller(request.headers()),
        };
        // Load balancers ask for health without a token.
        if need == Need::Nothing {
            return Ok(None);
        }
        let caller = caller.ok_or(Error::Unauthenticated)?;
        match need {
            Need::Nothing | Need::Token => {}
            Need::Scope(scope) => caller.may(scope)?,
            Need::Operator => caller.must_be_operator()?,
        }
        request.extensions_mut().insert(caller.clone());
        Ok(Some(caller))
    }
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<
        Either<S::Future, Ready<Result<Response<Body>, S::Error>>>,
        BoxFuture<'static, Result<Response<Body>, S::Error>>,
    >;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.admit(&mut request) {
            Ok(Some(caller)) if !caller.is_operator() => {
                let answer = self.inner.call(request);
                Either::Right(Box::pin(while_admitted::answer(caller, answer)))
            }
            Ok(_) => Either::Left(Either::Left(self.inner.call(request))),
            Err(error) => {
                let refusal = Status::from(error).into_http();
                Either::Left(Either::Right(ready(Ok(refusal))))
            }
        }
    }
}

/// Who sent a request that came through [`Auth`].
///
/// # Errors
/// [`Error::Unauthenticated`]: it did not.
pub fn caller(extensions: &Extensions) -> Result<Caller> {
    extensions.get().cloned().ok_or(Error::Unauthenticated)
}

/// `Bearer TOKEN`; the scheme's case does not matter.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}
