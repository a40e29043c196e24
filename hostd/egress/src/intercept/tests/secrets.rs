//! Secrets on their way through opened connections.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Response};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::super::session::Wire;
use super::world::{GOOD, World, echo, full, get, handler, read, request, told};
use crate::secrets::{BindingsError, Hosts, Secret, SecretValue, Surface};
use crate::testing::{on, secret};

const VALUE: &str = "sk-live-0123456789";

fn give(world: &World, secrets: Vec<Secret>) {
    let put = world.common.vault.put(|_| Ok::<_, BindingsError>(secrets));
    put.unwrap();
}

/// A world whose upstream says what it heard, and a secret for it; with its placeholder.
async fn with_secret(alpn: &[&str], surface: Surface) -> (World, String) {
    let world = World::with(alpn, echo()).await;
    let key = on("KEY", VALUE, GOOD, surface);
    let placeholder = key.placeholder().to_string();
    give(&world, vec![key]);
    (world, placeholder)
}

/// An upstream that tells the length of what it heard of a value, and the value itself.
fn witness() -> super::world::Handler {
    handler(|request| async move {
        let heard = request
            .headers()
            .get("x-key")
            .map_or("nothing", |v| v.to_str().unwrap());
        let mut response = Response::new(full(format!("heard {} bytes: {heard}", heard.len())));
        let value = HeaderValue::from_str(heard).unwrap();
        response.headers_mut().insert("x-heard", value);
        response
    })
}

#[tokio::test]
async fn the_upstream_has_the_value_and_the_guest_its_placeholder() {
    for h2 in [false, true] {
        let world = World::with(if h2 { &["h2"] } else { &["http/1.1"] }, witness()).await;
        let key = secret("KEY", VALUE, GOOD);
        let placeholder = key.placeholder().to_string();
        give(&world, vec![key]);
        let mut events = world.log.subscribe();
        let mut asked = get(h2, "/x?q=1");
        asked
            .headers_mut()
            .insert("x-key", HeaderValue::from_str(&placeholder).unwrap());
        let response = if h2 {
            world.http2().await.send_request(asked).await.unwrap()
        } else {
            world.http1().await.send_request(asked).await.unwrap()
        };
        let (status, headers, text) = read(response).await;
        assert_eq!(status, 200);
        assert_eq!(text, format!("heard {} bytes: {placeholder}", VALUE.len()));
        assert_eq!(headers["x-heard"], placeholder);
        let line = told(&mut events).await;
        assert!(line.contains("GET /x secrets=KEY allowed"), "{line}");
        assert!(!line.contains("q=1") && !line.contains(VALUE), "{line}");
    }
}

#[tokio::test]
async fn basic_credentials_come_back_as_they_were_written() {
    let (world, placeholder) = with_secret(&["http/1.1"], Surface::default()).await;
    let written = STANDARD.encode(format!("user:{placeholder}"));
    let mut asked = get(false, "/");
    let value = HeaderValue::from_str(&format!("Basic {written}")).unwrap();
    asked.headers_mut().insert("authorization", value);
    let (_, _, text) = read(world.http1().await.send_request(asked).await.unwrap()).await;
    assert!(
        text.contains(&format!("authorization: Basic {written}\n")),
        "{text}"
    );
}

#[tokio::test]
async fn a_body_is_rewritten_and_its_length_mended() {
    for h2 in [false, true] {
        let surface = Surface {
            body: true,
            query: true,
            ..Surface::default()
        };
        let (world, placeholder) =
            with_secret(if h2 { &["h2"] } else { &["http/1.1"] }, surface).await;
        let body = format!("{{\"key\":\"{placeholder}\"}}");
        let asked = request(
            h2,
            "POST",
            &format!("/?key={placeholder}"),
            full(body.clone()),
        );
        let response = if h2 {
            world.http2().await.send_request(asked).await.unwrap()
        } else {
            world.http1().await.send_request(asked).await.unwrap()
        };
        let (_, _, text) = read(response).await;
        assert!(
            text.starts_with(&format!("POST /?key={placeholder}")),
            "{text}"
        );
        assert!(text.ends_with(&body), "{text}");
        let length = body.len() - placeholder.len() + VALUE.len();
        assert!(
            h2 || text.contains(&format!("content-length: {length}\n")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn another_hosts_secret_stays_a_placeholder_and_is_told() {
    let world = World::with(&["http/1.1"], witness()).await;
    let other = secret("OTHER", VALUE, "other.example");
    let placeholder = other.placeholder().to_string();
    give(&world, vec![other]);
    let mut events = world.log.subscribe();
    let mut asked = get(false, "/");
    asked
        .headers_mut()
        .insert("x-key", HeaderValue::from_str(&placeholder).unwrap());
    let (_, _, text) = read(world.http1().await.send_request(asked).await.unwrap()).await;
    assert_eq!(
        text,
        format!("heard {} bytes: {placeholder}", placeholder.len())
    );
    let line = told(&mut events).await;
    assert!(line.contains("secrets=OTHER withheld"), "{line}");
}

#[tokio::test]
async fn rotation_and_revocation_act_on_the_next_request() {
    let world = World::with(&["http/1.1"], witness()).await;
    let key = secret("KEY", VALUE, GOOD);
    let (name, placeholder) = (key.name().clone(), key.placeholder().to_string());
    give(&world, vec![key]);
    let mut client = world.http1().await;
    let mut ask = async || {
        let mut asked = get(false, "/");
        asked
            .headers_mut()
            .insert("x-key", HeaderValue::from_str(&placeholder).unwrap());
        read(client.send_request(asked).await.unwrap()).await.2
    };
    assert!(ask().await.starts_with("heard 18 bytes"));
    let longer = SecretValue::new("sk-live-0123456789-and-more").unwrap();
    let key = Secret::new(
        name.clone(),
        longer,
        Hosts::parse(&[GOOD]).unwrap(),
        Surface::default(),
        placeholder.parse().unwrap(),
    );
    give(&world, vec![key.unwrap()]);
    assert!(ask().await.starts_with("heard 27 bytes"));
    assert!(world.common.vault.revoke(&name));
    assert!(
        ask()
            .await
            .starts_with(&format!("heard {} bytes", placeholder.len()))
    );
}

#[tokio::test]
async fn in_the_clear_only_who_asked_for_it() {
    for plaintext in [false, true] {
        let world = World::new();
        world.plain_upstream(GOOD, false, witness()).await;
        let key = on(
            "KEY",
            VALUE,
            GOOD,
            Surface {
                plaintext,
                ..Surface::default()
            },
        );
        let placeholder = key.placeholder().to_string();
        give(&world, vec![key]);
        let stream = world.connect(Wire::Http1, GOOD).await;
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut asked = get(false, "/");
        let value = HeaderValue::from_str(&placeholder).unwrap();
        asked.headers_mut().insert("x-key", value);
        let (_, _, text) = read(client.send_request(asked).await.unwrap()).await;
        let length = if plaintext {
            VALUE.len()
        } else {
            placeholder.len()
        };
        assert_eq!(text, format!("heard {length} bytes: {placeholder}"));
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_not_passed_on() {
    for coding in ["content-encoding", "grpc-encoding"] {
        let packed = handler(move |request| async move {
            assert_eq!(request.headers()["accept-encoding"], "identity");
            assert!(!request.headers().contains_key("grpc-accept-encoding"));
            assert!(!request.headers().contains_key("range"));
            let mut response = Response::new(full("packed"));
            let gzip = HeaderValue::from_static("gzip");
            response.headers_mut().insert(coding, gzip);
            response
        });
        let world = World::with(&["http/1.1"], packed).await;
        give(&world, vec![secret("KEY", VALUE, GOOD)]);
        let mut asked = get(false, "/");
        for (name, value) in [
            ("accept-encoding", "gzip, br"),
            ("grpc-accept-encoding", "gzip"),
            ("range", "bytes=0-3"),
        ] {
            let value = HeaderValue::from_static(value);
            asked.headers_mut().insert(name, value);
        }
        let response = world.http1().await.send_request(asked).await.unwrap();
        let (status, _, text) = read(response).await;
        assert_eq!((status, text.contains("packed")), (502, false), "{text}");
    }
}

#[tokio::test]
async fn a_value_is_found_in_the_clear_though_it_does_not_go_out_there() {
    let world = World::new();
    let stored = handler(|_| async { Response::new(full(format!("stored: {VALUE}"))) });
    world.plain_upstream(GOOD, false, stored).await;
    let key = on("KEY", VALUE, &format!("{GOOD}:443"), Surface::default());
    let placeholder = key.placeholder().to_string();
    give(&world, vec![key]);
    let asked = format!("GET / HTTP/1.1\r\nhost: {GOOD}\r\nconnection: close\r\n\r\n");
    let answer = world.raw(asked.as_bytes()).await;
    assert!(
        answer.contains(&format!("stored: {placeholder}")),
        "{answer}"
    );
}
