//! The secrets of one request's host, at work on the request and its answer.

use http::{request, response};

use super::body::TrailerMap;
use super::problem::Problem;
use super::record::Record;
use super::session::Common;
use super::transform::Transform;
use crate::policy::Target;

/// What is put into a request and taken out of its answer; nothing where the host has no secrets.
pub(super) struct Rewriting {}

impl Rewriting {
    /// The secrets that `target` has now.
    pub(super) fn of(_common: &Common, _target: &Target) -> Self {
        Self {}
    }

    /// Whether bytes after a WebSocket's handshake have to be read.
    pub(super) fn reads_frames(&self) -> bool {
        false
    }

    /// Puts secrets into a request's head; says how its body is rewritten.
    pub(super) async fn request(
        &mut self,
        _head: &mut request::Parts,
        _record: &mut Record,
    ) -> Result<Option<Box<dyn Transform>>, Problem> {
        Ok(None)
    }

    /// Takes secrets out of an answer's head; says how its body is rewritten.
    pub(super) fn response(&mut self, _head: &mut response::Parts) -> Option<Box<dyn Transform>> {
        None
    }

    /// Takes secrets out of an answer's trailers.
    pub(super) fn trailers(&self) -> Option<TrailerMap> {
        None
    }

    /// Rewrites one WebSocket message of the guest's.
    pub(super) fn message_up(&self, _text: bool) -> Box<dyn Transform> {
        Box::new(Same)
    }

    /// Rewrites one WebSocket message of the upstream's.
    pub(super) fn message_down(&self, _text: bool) -> Box<dyn Transform> {
        Box::new(Same)
    }
}

/// Changes nothing.
struct Same;

impl Transform for Same {
    fn feed(&mut self, chunk: &[u8]) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(chunk)
    }

    fn finish(&mut self) -> bytes::Bytes {
        bytes::Bytes::new()
    }
}
