//! The secrets of one request's host, at work on the request and its answer.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, request, response};

use super::body::TrailerMap;
use super::problem::Problem;
use super::record::Record;
use super::session::{Common, Opened};
use crate::policy::Target;
use crate::rewrite::{
    Lengths, Redactor, Same, Substitution, Transform, Unreadable, asks_for_readable, decoded,
};
use crate::secrets::Bindings;

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
        }
    }

    /// Whether bytes after a WebSocket's handshake have to be read.
    pub(super) fn reads_frames(&self) -> bool {
        self.may_repeat
    }

    /// Puts secrets into a request's head; says how its body is rewritten.
    pub(super) fn request(
        &mut self,
        head: &mut request::Parts,
        record: &mut Record,
    ) -> Result<Option<Box<dyn Transform>>, Problem> {
        if self.bindings.secrets().is_empty() {
            return Ok(None);
        }
        let here: Vec<_> = self.bindings.bound_to(&self.target, self.secure).collect();
        let mut substitution = Substitution::new(&self.bindings, head, |secret| {
            here.iter().any(|bound| bound.name() == secret.name())
        });
        record.secrets(substitution.uses().clone());
        substitution.head(head).map_err(Problem::Unfit)?;
        record.count_secrets();
        if self.may_repeat {
            readable(&mut head.headers);
        }
        let sent = substitution.take_sent();
        if !sent.is_empty() {
            self.redactor = Arc::new(Redactor::after(sent, self.redactor.clone()));
        }
        let body = substitution.body(&head.headers);
        self.substitution = Some(substitution);
        Ok(body)
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
