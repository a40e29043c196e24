//! Who may call: a tower layer that looks at the bearer token before any service is reached.

use std::task::{Context, Poll};

use futures::future::Either;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, header};
use tower::{Layer, Service};

use crate::config::Token;
use crate::error::Error;

/// Load balancers ask for health without a token.
const OPEN_PREFIX: &str = "/grpc.health.v1.Health/";

/// Lets requests through that show the token, or all when there is none.
#[derive(Clone, Debug)]
pub struct Auth {
    /// The token that is wanted.
    pub token: Option<Token>,
}

impl<S> Layer<S> for Auth {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded {
            inner,
            token: self.token.clone(),
        }
    }
}

/// A service behind [`Auth`].
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    token: Option<Token>,
}

impl<S> Guarded<S> {
    fn admits(&self, request: &Request<Body>) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        if request.uri().path().starts_with(OPEN_PREFIX) {
            return true;
        }
        let shown = request
            .headers()
            .get(header::AUTHORIZATION)
            .map(|value| value.as_bytes());
        shown
            .and_then(bearer)
            .is_some_and(|shown| token.matches(shown))
    }
}

impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, std::future::Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if self.admits(&request) {
            return Either::Left(self.inner.call(request));
        }
        let refusal = Status::from(Error::Unauthenticated);
        Either::Right(std::future::ready(Ok(refusal.into_http())))
    }
}

/// `Bearer TOKEN`; the scheme's case does not matter.
pub(crate) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}
