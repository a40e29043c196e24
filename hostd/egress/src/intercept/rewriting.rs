//! The secrets of one request's host, at work on the request and its answer.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, request, response};

use super::body::TrailerMap;
use super::minting;
use super::problem::Problem;
use super::record::Record;
use super::session::{Common, Opened};
use super::signing::Signing;
use crate::policy::Target;
use crate::rewrite::{
    Lengths, Redactor, Same, Substitution, Text, Transform, Unreadable, asks_for_readable, decoded,
};
use crate::secrets::{Bindings, Secret, SecretValue};

/// What is put into a request and taken out of its answer.
pub(super) struct Rewriting {
    bindings: Arc<Bindings>,
    target: Target,
    secure: bool,
    /// Whether this host has secrets, in the clear or not and at whatever port: only such a one can repeat any.
    may_repeat: bool,
    /// Of this request, once its head was read.
    substitution: Option<Substitution>,
    redactor: Arc<Redactor>,
    /// Tokens that were put in, and for which secrets.
    tokens: Vec<(Arc<Secret>, SecretValue)>,
}

/// What is done with a request's body.
#[derive(Default)]
pub(super) struct BodyPlan {
    /// How it is rewritten, if it is.
    pub(super) transform: Option<Box<dyn Transform>>,
    /// What is to be signed.
    pub(super) signing: Option<Signing>,
}

impl Rewriting {
    /// With the secrets that `target` has now.
    pub(super) fn of(common: &Common, opened: &Opened, target: &Target) -> Self {
        let (bindings, secure) = (common.vault.load(), opened.secure());
        Self {
            may_repeat: bindings.may_come_from(&target.host),
            redactor: bindings.redactor().clone(),
            bindings,
            target: target.clone(),
            secure,
            substitution: None,
            tokens: Vec::new(),
        }
    }

    /// Whether bytes after a WebSocket's handshake have to be read.
    pub(super) fn reads_frames(&self) -> bool {
        self.may_repeat
    }

    /// Puts secrets into a request's head; says how its body is rewritten, and what is to be signed.
    pub(super) async fn request(
        &mut self,
        head: &mut request::Parts,
        common: &Common,
        record: &mut Record,
    ) -> Result<BodyPlan, Problem> {
        if self.bindings.secrets().is_empty() {
            return Ok(BodyPlan::default());
        }
        let here: Vec<_> = self.bindings.bound_to(&self.target, self.secure).collect();
        let mut substitution = Substitution::new(&self.bindings, head, |secret| {
            here.iter().any(|bound| bound.name() == secret.name())
        });
        record.secrets(substitution.uses().clone());
        let wanted = substitution.wanted(head).map_err(Problem::Unfit)?;
        for wanted in &wanted {
            // Boxed, because it is large, and most requests have none.
            let token = Box::pin(minting::token(&wanted.secret, common)).await;
            let token = token.inspect_err(|_| substitution.withhold(wanted))?;
            if let Some(token) = token {
                substitution.supply(wanted, token.clone());
                self.tokens.push((wanted.secret.clone(), token));
            }
        }
        substitution.head(head).map_err(Problem::Unfit)?;
        if self.may_repeat {
            readable(&mut head.headers);
            self.look_for_more(substitution.take_sent());
        }
        let signing = Signing::of(wanted, &head.headers)?;
        let transform = substitution.body(&head.headers);
        self.substitution = Some(substitution);
        Ok(BodyPlan { transform, signing })
    }

    /// Looks for what stands for values, besides them: tokens, and Basic credentials as they were sent.
    fn look_for_more(&mut self, sent: Vec<(Text, Vec<u8>)>) {
        let secrets = self.bindings.secrets().iter();
        let tokens = secrets.filter_map(|secret| secret.processor().tokens());
        let mut redactors: Vec<_> = tokens.flat_map(|tokens| tokens.live()).collect();
        if !sent.is_empty() {
            redactors.push(Arc::new(Redactor::of_sent(sent)));
        }
        for redactor in redactors {
            self.redactor = Arc::new(redactor.before(self.redactor.clone()));
        }
    }

    /// Signs a request that is ready; `body` is there if the signature is made of it.
    pub(super) fn sign(
        &mut self,
        head: &mut request::Parts,
        signing: Signing,
        body: Option<&[u8]>,
    ) -> Result<(), Problem> {
        match &mut self.substitution {
            Some(substitution) => signing.sign(head, body, substitution),
            None => Ok(()),
        }
    }

    /// Takes note that the host did not take what it was sent (401): tokens may have been revoked.
    pub(super) fn refused(&self) {
        for (secret, token) in &self.tokens {
            if let Some(tokens) = secret.processor().tokens() {
                tokens.forget(token);
            }
        }
    }

    /// Takes secrets out of an answer's head; says how its body is rewritten.
    pub(super) fn response(
        &mut self,
        head: &mut response::Parts,
    ) -> Result<Option<Box<dyn Transform>>, Problem> {
        if !self.may_repeat {
            return Ok(None);
        }
        self.redactor.headers(&mut head.headers);
        let lengths = if has_lengths(&head.headers) {
            Lengths::Kept
        } else {
            Lengths::Free
        };
        let decoded = decoded(&mut head.headers, self.redactor.stream(lengths));
        decoded.map(Some).map_err(|Unreadable| {
            Problem::Answer("it is compressed in a way that was not asked for")
        })
    }

    /// Takes secrets out of an answer's trailers.
    pub(super) fn trailers(&self) -> Option<TrailerMap> {
        let redactor = self.redactor.clone();
        let map = move |trailers: &mut HeaderMap| redactor.headers(trailers);
        self.may_repeat.then(|| Box::new(map) as TrailerMap)
    }

    /// Rewrites one WebSocket message of the guest's.
    pub(super) fn message_up(&self, text: bool) -> Box<dyn Transform> {
        match self.substitution.as_ref().filter(|_| text) {
            Some(substitution) => substitution.message(),
            None => Box::new(Same),
        }
    }

    /// Rewrites one WebSocket message of the upstream's.
    pub(super) fn message_down(&self, text: bool) -> Box<dyn Transform> {
        let lengths = if text { Lengths::Free } else { Lengths::Kept };
        self.redactor.stream(lengths)
    }
}

/// Asks for an answer that can be searched, and all of it. Half a value in each of two parts would not be found.
fn readable(headers: &mut HeaderMap) {
    asks_for_readable(headers);
    headers.remove(RANGE);
    headers.remove(IF_RANGE);
}

/// Whether a body is of messages with their lengths before them.
fn has_lengths(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let start = kind.and_then(|kind| kind.get(..b"application/grpc".len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
}
