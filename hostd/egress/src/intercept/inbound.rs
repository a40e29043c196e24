//! An upstream's answer as the guest gets it.

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Response, StatusCode, Version, response};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::begun::Begun;
use super::body::Body;
use super::driven::Driven;
use super::problem::{Culprit, Problem};
use super::record::Record;
use super::rewriting::Rewriting;
use super::websocket::{self, Frames, Sender};
use crate::hop;

/// What became of a request.
pub(super) enum Passed {
    /// An answer.
    Answer(Response<Body>),
    /// A WebSocket: the answer, and what follows it.
    WebSocket(Response<Body>, Socket),
}

/// Both ends of a WebSocket that begins as soon as the guest has its answer.
pub(super) struct Socket {
    guest: OnUpgrade,
    upstream: OnUpgrade,
    rewriting: Rewriting,
}

/// Takes the secrets out and makes the answer.
pub(super) async fn answer(
    answer: Response<Incoming>,
    driven: Option<Driven>,
    mut rewriting: Rewriting,
    upgrade: Option<OnUpgrade>,
    bodiless: bool,
) -> Result<Passed, Problem> {
    let (mut head, incoming) = answer.into_parts();
    check_coding(&head)?;
    let switching = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let socket = if switching {
        Some(agree(&mut head, upgrade, &rewriting)?)
    } else {
        None
    };
    hop::strip(&mut head.headers);
    // The upstream's version is its own, and its phrase could hold anything; clients look at the number.
    head.version = Version::HTTP_11;
    head.extensions.remove::<ReasonPhrase>();
    let transform = rewriting.response(&mut head)?;
    if let Some((guest, upstream)) = socket {
        websocket::ask(&mut head.headers, rewriting.reads_frames());
        let response = Response::from_parts(head, Body::whole(bytes::Bytes::new()));
        return Ok(Passed::WebSocket(
            response,
            Socket {
                guest,
                upstream,
                rewriting,
            },
        ));
    }
    let transform = transform.filter(|_| !bodiless && has_body(head.status));
    if transform.is_some() {
        head.headers.remove(CONTENT_LENGTH);
    }
    let trailers = rewriting.trailers();
    let body = Body::stream(Begun::of(incoming, driven).await)
        .transformed(transform)
        .trailers_mapped(trailers)
        .settled();
    Ok(Passed::Answer(Response::from_parts(head, body)))
}

fn has_body(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

fn check_coding(head: &response::Parts) -> Result<(), Problem> {
    let mut codings = hop::tokens(&head.headers, &TRANSFER_ENCODING);
    if codings.all(|coding| coding.eq_ignore_ascii_case("chunked")) {
        Ok(())
    } else {
        Err(Problem::TransferCoding(Culprit::Upstream))
    }
}

/// Both sides' promises of the bytes after the handshake, if the guest asked for a WebSocket and this is one.
fn agree(
    head: &mut response::Parts,
    guest: Option<OnUpgrade>,
    rewriting: &Rewriting,
) -> Result<(OnUpgrade, OnUpgrade), Problem> {
    let guest = guest.ok_or(Problem::Answer(
        "it switches protocols, which nobody asked for",
    ))?;
    if !websocket::agreed(&head.headers, rewriting.reads_frames()) {
        return Err(Problem::Answer(
            "it switches to a protocol that was not asked for",
        ));
    }
    let upstream = head.extensions.remove::<OnUpgrade>();
    Ok((
        guest,
        upstream.ok_or(Problem::Answer("it switches protocols and ends"))?,
    ))
}

impl Socket {
    /// Passes both directions on until they end.
    pub(super) async fn pass(self, record: Record) {
        let Self {
            guest,
            upstream,
            rewriting,
        } = self;
        let (Ok(guest), Ok(upstream)) = (guest.await, upstream.await) else {
            return;
        };
        let (from_guest, to_guest) = tokio::io::split(TokioIo::new(guest));
        let (from_upstream, to_upstream) = tokio::io::split(TokioIo::new(upstream));
        let (up, down) = (record.up.clone(), record.down.clone());
        let ended = if rewriting.reads_frames() {
            let guests = Frames::new(Sender::Client, |text| rewriting.message_up(text));
            let upstreams = Frames::new(Sender::Server, |text| rewriting.message_down(text));
            let outwards = websocket::pass_frames(from_guest, to_upstream, guests, up);
            let inwards = websocket::pass_frames(from_upstream, to_guest, upstreams, down);
            tokio::try_join!(outwards, inwards)
        } else {
            let outwards = websocket::pass_bytes(from_guest, to_upstream, up);
            let inwards = websocket::pass_bytes(from_upstream, to_guest, down);
            tokio::try_join!(outwards, inwards)
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a WebSocket ended early");
        }
    }
}
