//! Bodies of requests that are answered without being read.
//!
//! A complete answer may come before the end of its request (RFC 9113 §8.1: then with RST_STREAM of NO_ERROR), but
//! clients are known that lose the answer then: curl before 8.0 says "Stream error in the HTTP/2 framing layer" and
//! nothing of why it was refused; over HTTP/1.1 a reset connection can lose it too. So a little more is read, as
//! nginx does in its lingering close.

use std::time::Duration;

use http::header::EXPECT;
use http::{HeaderMap, request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::timeout;

/// How much is read.
const MOST: usize = 64 << 10;

/// How long.
const TIME: Duration = Duration::from_secs(1);

/// Reads the rest of a body if it is short and does not take long.
pub(super) async fn drain(head: &request::Parts, mut body: Incoming) {
    if waits(&head.headers) {
        return;
    }
    let read = async {
        let mut body = Limited::new(&mut body, MOST);
        while let Some(Ok(_)) = body.frame().await {}
    };
    // What comes later is lost, as it would be without this.
    let _ = timeout(TIME, read).await;
}

/// Whether a client sends nothing before it is asked to: reading would ask it.
fn waits(headers: &HeaderMap) -> bool {
    headers.contains_key(EXPECT)
}
