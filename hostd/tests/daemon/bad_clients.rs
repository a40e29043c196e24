//! Clients of the gateway that mean harm, or do it: they are told or let go, and nobody else is worse off.

use std::fs;

use futures::future::join_all;
use futures::{SinkExt as _, StreamExt as _};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use protocol::hostd::v1::TokenScope;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tonic::Code;

use crate::host::PATIENCE;
use crate::house::{House, Socket, Tenant, token};

/// What a flood may leave behind in hostd, in bytes: allocators keep some of what they had.
const FLAT: u64 = 24 << 20;

/// hostd's resident memory in bytes.
fn memory(house: &House) -> u64 {
    let pid = house.host.child.id().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().split_whitespace().next().unwrap();
    kib.parse::<u64>().unwrap() << 10
}

async fn user(house: &House) -> Tenant {
    house.tenant(token("acme", &[TokenScope::Sandboxes])).await
}

async fn session(user: &Tenant, id: &str) -> Socket {
    let path = format!("/api/v3/sandbox/{id}/connect");
    user.session(&path).await.unwrap()
}

/// The guest of these tests repeats what it hears.
async fn assert_answers(session: &mut Socket) {
    let asked = Message::text(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
    session.send(asked.clone()).await.unwrap();
    loop {
        let message = tokio::time::timeout(PATIENCE, session.next()).await;
        match message.expect("no answer").unwrap().unwrap() {
            Message::Ping(_) => {}
            answer => return assert_eq!(answer, asked),
        }
    }
}

#[tokio::test]
async fn wrong_tokens_by_the_thousand_are_refused_and_leave_nothing() {
    let house = House::start().await;
    let user = user(&house).await;
    let id = user.boot().await.unwrap().id;
    let mut other = session(&user, &id).await;
    // The right one with another letter at its end, as somebody would try who knows all but that.
    let (most, _) = user.secret.split_at(user.secret.len() - 1);
    let wrong = |number: usize| match number % 4 {
        0 => format!("{most}!"),
        1 => format!("{most}{number:03}"),
        2 => format!("ddo_{number:068}"),
        _ => "x".repeat(number),
    };
    flood(&house, 500, &wrong).await;
    let before = memory(&house);
    flood(&house, 4000, &wrong).await;
    let after = memory(&house);
    assert!(after < before + FLAT, "{before} {after}");
    for number in 0..200 {
        let stranger = house.with(&wrong(number)).await;
        let refused = stranger.boot().await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
    assert_answers(&mut other).await;
    user.get(&id).await.unwrap();
}

/// So many requests with wrong tokens, over eight connections.
async fn flood(house: &House, requests: usize, wrong: &impl Fn(usize) -> String) {
    let address = house.host.gateway.unwrap();
    let lines = (0..8).map(|line| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        for number in (line..requests).step_by(8) {
            let bearer = wrong(number);
            let request = format!(
                "GET /api/v3/sandboxes HTTP/1.1\r\nhost: thaw\r\nauthorization: Bearer {bearer}\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = [0; 2048];
            let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await;
            let read = read.unwrap().unwrap();
            let answer = String::from_utf8_lossy(&answer[..read]);
            assert!(answer.starts_with("HTTP/1.1 401 "), "{number}: {answer}");
        }
    });
    join_all(lines).await;
}

#[tokio::test]
async fn thousands_who_say_nothing_keep_nobody_out() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let house = House::start().await;
    let user = user(&house).await;
    let id = user.boot().await.unwrap().id;
    let mut other = session(&user, &id).await;
    let before = memory(&house);
    let mut silent = Vec::new();
    for number in 0..3000 {
        let mut stream = TcpStream::connect(user.gateway).await.unwrap();
        let head: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /api/v3/sandboxes HTTP/1.1\r\nhost: thaw\r\n",
            _ => b"\0",
        };
        // The last are let go at once.
        let _ = stream.write_all(head).await;
        silent.push(stream);
        if number % 300 == 0 {
            assert_eq!(user.rest("GET /api/v3/sandboxes").await.0, 200, "{number}");
        }
    }
    assert_answers(&mut other).await;
    let during = memory(&house);
    // 1,024 have a place; each may have sent 256 KiB of a head, but these have not.
    assert!(during < before + (48 << 20), "{before} {during}");
    let mut new = session(&user, &id).await;
    assert_answers(&mut new).await;
    drop(silent);
    assert_eq!(user.rest("GET /api/v3/sandboxes").await.0, 200);
    assert_answers(&mut other).await;
}

#[tokio::test]
async fn hundreds_of_sessions_end_without_a_word() {
    let house = House::start().await;
    let user = user(&house).await;
    let id = user.boot().await.unwrap().id;
    let mut other = session(&user, &id).await;
    let round = async || {
        let mut sessions = Vec::new();
        for _ in 0..100 {
            sessions.push(session(&user, &id).await);
        }
        for session in sessions.iter_mut().step_by(7) {
            assert_answers(session).await;
        }
    };
    round().await;
    let before = memory(&house);
    for _ in 0..3 {
        round().await;
    }
    let after = memory(&house);
    assert!(after < before + FLAT, "{before} {after}");
    assert_answers(&mut other).await;
}

/// A frame of a client: its first byte, and its payload (RFC 6455, section 5.2), masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        long => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

#[tokio::test]
async fn frames_that_are_none_end_their_own_session_alone() {
    let house = House::start().await;
    let user = user(&house).await;
    let id = user.boot().await.unwrap().id;
    let mut other = session(&user, &id).await;
    let huge = {
        // It says that 1 TiB will follow.
        let mut bytes = vec![0x81, 0xff];
        bytes.extend((1_u64 << 40).to_be_bytes());
        bytes.extend([0; 4]);
        bytes
    };
    let long = {
        let mut bytes = vec![0x81, 0xff];
        bytes.extend((65_u64 << 20).to_be_bytes());
        bytes.extend([0; 4]);
        bytes
    };
    for (what, bytes, code) in [
        ("binary", frame(0x82, b"\0\x01"), Some(1003)),
        ("a message that is too long", huge, Some(1009)),
        ("a message that is a little too long", long, Some(1009)),
        ("no mask", vec![0x81, 0x02, b'{', b'}'], None),
        ("reserved bits", frame(0xf1, b"{}"), None),
        ("a reserved opcode", frame(0x83, b"{}"), None),
        ("no text", frame(0x81, b"\xff\xfe"), None),
        ("what continues nothing", frame(0x80, b"{}"), None),
        ("a ping in parts", frame(0x09, b"?"), None),
        ("a long ping", frame(0x89, &[b'?'; 126]), None),
        ("a close of one byte", frame(0x88, b"?"), None),
        ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec(), None),
    ] {
        let mut bad = session(&user, &id).await;
        bad.get_mut().write_all(&bytes).await.unwrap();
        let close = end(&mut bad, what).await;
        if let Some(code) = code {
            let close = close.unwrap_or_else(|| panic!("{what}: no close"));
            assert_eq!(u16::from(close.code), code, "{what}");
        }
        assert_answers(&mut other).await;
    }
    user.get(&id).await.unwrap();
}

/// How a session ends.
async fn end(session: &mut Socket, what: &str) -> Option<CloseFrame> {
    loop {
        let message = tokio::time::timeout(PATIENCE, session.next()).await;
        match message.unwrap_or_else(|_| panic!("{what}: it goes on")) {
            Some(Ok(Message::Close(close))) => return close,
            Some(Ok(Message::Ping(_))) => {}
            Some(Ok(other)) => panic!("{what}: {other:?}"),
            Some(Err(_)) | None => return None,
        }
    }
}

#[tokio::test]
async fn handshakes_that_are_none_make_nothing() {
    let house = House::start().await;
    let user = user(&house).await;
    let create = "GET /api/v3/sandboxes/create";
    for (what, config) in [
        ("deep", "[".repeat(20_000)),
        (
            "a bomb",
            format!(
                "{{\"labels\":{}1{}}}",
                "{\"a\":".repeat(5000),
                "}".repeat(5000)
            ),
        ),
        ("another kind", "[1, 2]".to_owned()),
        ("wrong types", r#"{"env": 7}"#.to_owned()),
        ("no text", "\u{0}".to_owned()),
    ] {
        let config = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, config);
        let headers = format!("{HANDSHAKE}x-deno-sandbox-config: {config}\r\n");
        let (status, _) = user.rest_with(create, &headers).await;
        assert!((400..500).contains(&status), "{what}: {status}");
    }
    for (what, headers) in [
        ("no configuration", HANDSHAKE.to_owned()),
        (
            "no base64",
            format!("{HANDSHAKE}x-deno-sandbox-config: %\r\n"),
        ),
        ("no upgrade", "x-deno-sandbox-config: e30=\r\n".to_owned()),
        (
            "an old version",
            HANDSHAKE.replace("version: 13", "version: 8"),
        ),
        (
            "a head without end",
            format!("x: {}\r\n", "x".repeat(300 << 10)),
        ),
    ] {
        let (status, _) = user.rest_with(create, &headers).await;
        assert!((400..500).contains(&status), "{what}: {status}");
    }
    assert_eq!(user.listed().await, Vec::<String>::new());
    house.host.assert_clean().await;
}

const HANDSHAKE: &str = "upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
