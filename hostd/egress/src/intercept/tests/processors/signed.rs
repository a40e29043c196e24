//! Bodies and requests that are signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use super::super::world::{
    BodyOut, GOOD, SIGNING, World, channel, full, get, handler, request, told,
};
use super::{KEY, give, heard, processed, put, send, with};
use crate::processors::{Hmac, Payload, Processor, SigV4, SigV4Asked};
use crate::secrets::Surface;
use crate::testing::on;

const SIGNATURE: &str = "x-hub-signature-256";
const TIME: &str = "20150830T123600Z";

fn hmac() -> Processor {
    Processor::Hmac(Hmac::default())
}

fn aws() -> Processor {
    Processor::SigV4(SigV4::new("AKIDEXAMPLE").unwrap())
}

/// A body that comes in these parts, without a length.
fn in_parts(parts: &[&str]) -> BodyOut {
    let parts = parts
        .iter()
        .map(|part| Bytes::copy_from_slice(part.as_bytes()));
    let frames = parts.map(|part| Ok(Frame::data(part))).collect::<Vec<_>>();
    BodyExt::boxed(StreamBody::new(stream::iter(frames)))
}

#[tokio::test]
async fn a_body_is_signed_as_it_goes_out() {
    for h2 in [false, true] {
        let (world, placeholder) = with(h2, processed(KEY, hmac())).await;
        let surface = Surface {
            body: true,
            ..Surface::default()
        };
        let other = on("OTHER", "the-other-value", GOOD, surface);
        let written = format!("user={}", other.placeholder());
        give(&world, vec![other]);
        let (half, rest) = written.split_at(20);
        for (body, sent) in [
            (full(written.clone()), "user=the-other-value"),
            (in_parts(&[half, rest]), "user=the-other-value"),
            (full(""), ""),
        ] {
            let asked = request(h2, "POST", "/hook", body);
            let asked = put(asked, SIGNATURE, &format!("sha256={placeholder}"));
            let (status, text) = send(&world, h2, asked).await;
            let signature = Hmac::default().sign(KEY.as_bytes(), sent.as_bytes());
            assert_eq!(status, 200, "{text}");
            assert_eq!(heard(&text, SIGNATURE), format!("sha256={signature}"));
            assert!(text.ends_with(&format!(
                "\n{}",
                sent.replace("the-other-value", &written[5..])
            )));
        }
    }
}

#[tokio::test]
async fn what_asks_for_no_signature_is_not_gathered() {
    let (world, placeholder) = with(false, processed(KEY, hmac())).await;
    let (_sender, body) = channel();
    let mut asked = request(false, "POST", "/", body);
    asked.headers_mut().remove("content-length");
    // The upstream never answers a body that never ends; it has the head though.
    let mut events = world.log.subscribe();
    let sent = world.http1().await.send_request(asked);
    let sent = tokio::spawn(sent);
    let line = told(&mut events).await;
    assert!(line.contains("POST / allowed"), "{line}");
    sent.abort();
    // Elsewhere than in a header it means nothing.
    let asked = request(
        false,
        "POST",
        &format!("/{placeholder}"),
        full(placeholder.clone()),
    );
    let (status, text) = send(&world, false, asked).await;
    assert!(
        status == 200 && text.starts_with(&format!("POST /{placeholder} ")),
        "{text}"
    );
    assert!(text.ends_with(&format!("\n{placeholder}")), "{text}");
}

#[tokio::test]
async fn a_body_is_signed_up_to_a_size_and_so_many_at_a_time() {
    let (world, placeholder) = with(false, processed(KEY, hmac())).await;
    let long = "x".repeat(super::super::super::limits::SIGNED_BODY);
    let ask = |body: BodyOut| put(request(false, "POST", "/", body), SIGNATURE, &placeholder);
    for body in [full(format!("{long}x")), in_parts(&[&long, "x"])] {
        let (status, text) = send(&world, false, ask(body)).await;
        assert!(
            status == 413 && text.contains("more than 8 MiB"),
            "{status} {text}"
        );
    }
    let (status, _) = send(&world, false, ask(in_parts(&[&long]))).await;
    assert_eq!(status, 200);
    let (mut held, mut senders) = (Vec::new(), Vec::new());
    for _ in 0..SIGNING {
        let (sender, body) = channel();
        sender
            .send(Ok(Frame::data(Bytes::from_static(b"x"))))
            .await
            .unwrap();
        let mut client = world.http1().await;
        let asked = ask(body);
        held.push(tokio::spawn(async move {
            client.send_request(asked).await.unwrap()
        }));
        senders.push(sender);
    }
    while world.common.signing.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let (status, text) = send(&world, false, ask(full("x"))).await;
    assert!(
        status == 429 && text.contains("being signed"),
        "{status} {text}"
    );
    drop(senders);
    for held in held {
        assert_eq!(held.await.unwrap().status(), 200);
    }
    let (status, _) = send(&world, false, ask(full("x"))).await;
    assert_eq!(status, 200);
}

/// A request as AWS's SDKs write it, with the placeholder as access key id.
fn aws_request(h2: bool, placeholder: &str, payload: Option<&str>, body: &str) -> Request<BodyOut> {
    let mut signed = "host;x-amz-date".to_owned();
    let mut asked = request(h2, "PUT", "/a%20key?b=2&a=1", full(body.to_owned()));
    if let Some(payload) = payload {
        asked = put(asked, "x-amz-content-sha256", payload);
        signed = "host;x-amz-content-sha256;x-amz-date".to_owned();
    }
    let scope = "20150830/us-east-1/s3/aws4_request";
    let signature = "0".repeat(64);
    let line = format!(
        "AWS4-HMAC-SHA256 Credential={placeholder}/{scope}, SignedHeaders={signed}, Signature={signature}"
    );
    put(put(asked, "x-amz-date", TIME), "authorization", &line)
}

/// What the request should have been signed with, had its program had the keys.
fn expected(placeholder: &str, payload: Option<&str>, hash: &str) -> String {
    let asked = aws_request(false, placeholder, payload, "");
    let (head, _) = asked.into_parts();
    let asked = SigV4Asked::read(&head.headers, &placeholder.parse().unwrap()).unwrap();
    let signer = SigV4::new("AKIDEXAMPLE").unwrap();
    let value = signer.authorization(KEY.as_bytes(), &asked, &head, hash);
    value.unwrap().to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_request_to_aws_is_signed_again() {
    for h2 in [false, true] {
        let (world, placeholder) = with(h2, processed(KEY, aws())).await;
        let body_hash = Payload::hash(b"a body");
        let claimed = Payload::hash(b"another body");
        for (payload, hash) in [
            (None, &body_hash[..]),
            (Some(&body_hash[..]), &body_hash),
            // The program's own claim, which AWS holds against the body.
            (Some(&claimed), &claimed),
            (Some("UNSIGNED-PAYLOAD"), "UNSIGNED-PAYLOAD"),
        ] {
            let mut events = world.log.subscribe();
            let asked = aws_request(h2, &placeholder, payload, "a body");
            let (status, text) = send(&world, h2, asked).await;
            assert_eq!(status, 200, "{text}");
            let signed = expected(&placeholder, payload, hash);
            assert_eq!(heard(&text, "authorization"), signed);
            let line = told(&mut events).await;
            assert!(line.contains("secrets=KEY allowed"), "{line}");
        }
    }
}

#[tokio::test]
async fn a_hash_is_made_again_of_a_body_that_is_another() {
    let (world, placeholder) = with(false, processed(KEY, aws())).await;
    let surface = Surface {
        body: true,
        ..Surface::default()
    };
    let other = on("OTHER", "the-other-value", GOOD, surface);
    let written = other.placeholder().to_string();
    give(&world, vec![other]);
    let hash = Payload::hash(written.as_bytes());
    let asked = aws_request(false, &placeholder, Some(&hash), &written);
    let (_, text) = send(&world, false, asked).await;
    let sent = Payload::hash(b"the-other-value");
    assert_eq!(heard(&text, "x-amz-content-sha256"), sent);
    let signed = expected(&placeholder, Some(&sent), &sent);
    assert_eq!(heard(&text, "authorization"), signed);
}

#[tokio::test]
async fn what_cannot_be_signed_is_told_and_goes_nowhere() {
    let (world, placeholder) = with(false, processed(KEY, aws())).await;
    let mut events = world.log.subscribe();
    let bearer = put(
        get(false, "/"),
        "authorization",
        &format!("Bearer {placeholder}"),
    );
    let (status, text) = send(&world, false, bearer).await;
    assert_eq!(status, 400);
    assert!(
        text.contains("with the secret KEY: its Authorization header is not"),
        "{text}"
    );
    let line = told(&mut events).await;
    assert!(
        line.contains("refused") && line.contains("signature"),
        "{line}"
    );
    let streamed = Some("STREAMING-AWS4-HMAC-SHA256-PAYLOAD");
    let asked = aws_request(false, &placeholder, streamed, "a body");
    let (status, text) = send(&world, false, asked).await;
    assert!(status == 400 && text.contains("UNSIGNED-PAYLOAD"), "{text}");
}

#[tokio::test]
async fn another_hosts_signature_is_not_made() {
    let (world, _) = with(false, processed(KEY, hmac())).await;
    let elsewhere = crate::secrets::Secret::processed(
        "OTHER".parse().unwrap(),
        crate::secrets::SecretValue::new(KEY).unwrap(),
        aws(),
        crate::secrets::Hosts::parse(&["aws.example"]).unwrap(),
        Surface::default(),
        crate::secrets::Placeholder::generate().unwrap(),
    );
    let elsewhere = elsewhere.unwrap();
    let placeholder = elsewhere.placeholder().to_string();
    give(&world, vec![elsewhere]);
    let asked = aws_request(false, &placeholder, None, "");
    let (status, text) = send(&world, false, asked).await;
    let line = heard(&text, "authorization");
    assert!(status == 200 && line.contains(&placeholder), "{text}");
    assert!(line.ends_with(&"0".repeat(64)), "{text}");
}

#[tokio::test]
async fn credentials_with_a_value_and_a_signature_tell_nothing() {
    let (world, placeholder) = with(false, processed(KEY, hmac())).await;
    let other = on("OTHER", "the-other-value", GOOD, Surface::default());
    let pair = STANDARD.encode(format!("{}:{placeholder}", other.placeholder()));
    give(&world, vec![other]);
    let asked = put(get(false, "/"), "authorization", &format!("Basic {pair}"));
    let (status, text) = send(&world, false, asked).await;
    assert_eq!(
        (status, heard(&text, "authorization")),
        (200, &format!("Basic {pair}")[..])
    );
}

#[tokio::test]
async fn who_only_gets_signatures_may_answer_as_it_likes() {
    let packed = handler(|request| async move {
        assert_eq!(request.headers()["range"], "bytes=0-3");
        let mut response = Response::new(full("part"));
        let coding = HeaderValue::from_static("a coding that nobody knows");
        response.headers_mut().insert("content-encoding", coding);
        response
    });
    let world = World::with(&["http/1.1"], packed).await;
    let secret = processed(KEY, aws());
    let placeholder = secret.placeholder().to_string();
    give(&world, vec![secret]);
    let asked = put(
        aws_request(false, &placeholder, None, ""),
        "range",
        "bytes=0-3",
    );
    let (status, text) = send(&world, false, asked).await;
    assert_eq!((status, &text[..]), (200, "part"));
}
