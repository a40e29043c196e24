//! Compressed answers of hosts that have secrets.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use tokio::time::timeout;

use super::world::{GOOD, Handler, World, channel, full, get, handler, read, request};
use crate::secrets::BindingsError;
use crate::testing::{encoded, flushed, secret};

const VALUE: &str = "sk-live-0123456789";
const PATIENCE: Duration = Duration::from_secs(60);

/// A world with this upstream, which has a secret; with its placeholder.
async fn world(h2: bool, answer: Handler) -> (World, String) {
    let world = World::with(if h2 { &["h2"] } else { &["http/1.1"] }, answer).await;
    let key = secret("KEY", VALUE, GOOD);
    let placeholder = key.placeholder().to_string();
    let put = world
        .common
        .vault
        .put(|_| Ok::<_, BindingsError>(vec![key]));
    put.unwrap();
    (world, placeholder)
}

async fn ask(world: &World, h2: bool, accepted: &str) -> Response<Incoming> {
    try_to_ask(world, h2, accepted).await.unwrap()
}

async fn try_to_ask(world: &World, h2: bool, accepted: &str) -> hyper::Result<Response<Incoming>> {
    let mut asked = get(h2, "/");
    let headers = asked.headers_mut();
    headers.insert(ACCEPT_ENCODING, accepted.parse().unwrap());
    if h2 {
        world.http2().await.send_request(asked).await
    } else {
        world.http1().await.send_request(asked).await
    }
}

/// Answers with this body in this coding, and tells in a header what was accepted.
fn answers(coding: &'static str, body: Vec<u8>) -> Handler {
    handler(move |request| {
        let body = body.clone();
        async move {
            let accepted = request.headers()[ACCEPT_ENCODING].clone();
            let mut answer = Response::new(full(body));
            answer.headers_mut().insert("x-accepted", accepted);
            let coding = coding.parse().unwrap();
            answer.headers_mut().insert(CONTENT_ENCODING, coding);
            answer
        }
    })
}

#[tokio::test]
async fn a_value_in_a_compressed_answer_is_found() {
    let text = format!("{}{VALUE}{}", "x".repeat(100_000), "y".repeat(100_000));
    for (coding, body) in encoded(text.as_bytes()) {
        for h2 in [false, true] {
            let (world, placeholder) = world(h2, answers(coding, body.clone())).await;
            let answer = ask(&world, h2, &format!("{coding}, dcb")).await;
            assert_eq!(answer.headers()["x-accepted"], coding);
            assert!(!answer.headers().contains_key(CONTENT_ENCODING));
            assert!(!answer.headers().contains_key(CONTENT_LENGTH));
            let (status, _, body) = read(answer).await;
            assert_eq!((status, body), (200, text.replace(VALUE, &placeholder)));
        }
    }
}

#[tokio::test]
async fn events_in_gzip_go_on_as_they_come() {
    for h2 in [false, true] {
        let (send, body) = channel();
        let body = std::sync::Mutex::new(Some(body));
        let (world, placeholder) = world(
            h2,
            handler(move |_| {
                let mut answer = Response::new(body.lock().unwrap().take().unwrap());
                let coding = "gzip".parse().unwrap();
                answer.headers_mut().insert(CONTENT_ENCODING, coding);
                async move { answer }
            }),
        )
        .await;
        let mut answer = ask(&world, h2, "gzip").await;
        let events = [1, 2, 3].map(|n| format!("data: {n} {VALUE}\n\n"));
        let parts = flushed(&events.each_ref().map(String::as_str));
        for (event, part) in events.iter().zip(parts) {
            let part = Bytes::from(part);
            send.send(Ok(Frame::data(part))).await.unwrap();
            // The next one is sent when this one has arrived.
            let expected = event.replace(VALUE, &placeholder);
            let mut got = String::new();
            while got.len() < expected.len() {
                let frame = timeout(PATIENCE, answer.frame()).await.unwrap();
                let data = frame.unwrap().unwrap().into_data().unwrap();
                got.push_str(std::str::from_utf8(&data).unwrap());
            }
            assert_eq!(got, expected);
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_end_well() {
    for (coding, body) in encoded(&[b'x'; 10_000]) {
        for h2 in [false, true] {
            let short = body[..body.len() - 1].to_vec();
            let (world, _) = world(h2, answers(coding, short)).await;
            // On HTTP/1.1 the head may not have gone out yet.
            if let Ok(answer) = try_to_ask(&world, h2, coding).await {
                let body = timeout(PATIENCE, answer.into_body().collect()).await;
                assert!(body.unwrap().is_err(), "{coding} {h2}");
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_unfolds_without_end_waits_for_its_reader() {
    const LENGTH: usize = 8 << 20;
    let bombs = encoded(&vec![0; LENGTH]);
    let (coding, body) = bombs.into_iter().next().unwrap();
    let (world, _) = world(true, answers(coding, body)).await;
    let mut answer = ask(&world, true, coding).await;
    let mut length = 0;
    while let Some(frame) = timeout(PATIENCE, answer.frame()).await.unwrap() {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.len() <= 64 << 10);
        length += data.len();
    }
    assert_eq!(length, LENGTH);
}

#[tokio::test]
async fn what_cannot_be_decoded_is_not_passed_on() {
    for coding in ["compress", "dcb", "gzip, gzip, gzip, gzip"] {
        let (world, _) = world(false, answers(coding, b"anything".to_vec())).await;
        let (status, _, text) = read(ask(&world, false, coding).await).await;
        assert_eq!(status, 502, "{text}");
        assert!(text.contains("compressed in a way"), "{text}");
    }
}

#[tokio::test]
async fn a_length_is_that_of_the_body_that_is_passed_on() {
    let answer = handler(|request| async move {
        let mut answer = Response::new(full(format!("echo: {VALUE}")));
        if request.uri().path() == "/coded" {
            let coded = encoded(b"a body").remove(0);
            answer = Response::new(full(coded.1));
            let coding = coded.0.parse().unwrap();
            answer.headers_mut().insert(CONTENT_ENCODING, coding);
        }
        answer
    });
    let (world, placeholder) = world(false, answer).await;
    for (method, path, length) in [
        ("GET", "/", Some(placeholder.len() + "echo: ".len())),
        ("GET", "/coded", Some("a body".len())),
        // What it would be without the value: of this alone it is told.
        ("HEAD", "/", Some(VALUE.len() + "echo: ".len())),
        ("HEAD", "/coded", None),
    ] {
        let asked = request(false, method, path, full(""));
        let answer = world.http1().await.send_request(asked).await.unwrap();
        let said = answer.headers().get(CONTENT_LENGTH);
        let said = said.map(|length| length.to_str().unwrap().parse().unwrap());
        assert_eq!(said, length, "{method} {path}");
    }
}
