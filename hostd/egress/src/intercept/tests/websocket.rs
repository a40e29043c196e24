use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::*;

/// Agrees to a WebSocket and sends back every byte that comes, after a greeting of what it was asked.
pub(super) fn socket_echo() -> Handler {
    handler(|mut request| async move {
        let extensions = request.headers().get("sec-websocket-extensions").cloned();
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut buffer = vec![0; 1 << 16];
            while let Ok(count) = stream.read(&mut buffer).await {
                if count == 0 || stream.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
            }
            let _ = stream.shutdown().await;
        });
        let mut answer = http::Response::builder()
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        if let Some(extensions) = extensions {
            answer = answer.header("sec-websocket-extensions", extensions);
        }
        answer.body(full("")).unwrap()
    })
}

/// Asks for a WebSocket and gives the answer's head and the stream behind it.
pub(super) async fn open(world: &World) -> (String, TlsClient) {
    let mut stream = world.connect_tls(&["http/1.1"]).await;
    let head = "GET /socket HTTP/1.1\r\nhost: good.example\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\
                sec-websocket-extensions: permessage-deflate\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    (String::from_utf8(answer).unwrap(), stream)
}

#[tokio::test]
async fn bytes_pass_as_they_are_where_nothing_is_secret() {
    let world = World::with(&["h2", "http/1.1"], socket_echo()).await;
    let mut events = world.log.subscribe();
    let (head, mut stream) = open(&world).await;
    assert!(
        head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{head}"
    );
    assert!(
        head.contains("permessage-deflate") && head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{head}"
    );
    for n in 0..100u32 {
        let bytes = vec![n as u8; 1 + n as usize * 997];
        stream.write_all(&bytes).await.unwrap();
        let mut back = vec![0; bytes.len()];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, bytes);
    }
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(
        told(&mut events).await,
        "box http good.example:443 GET /socket allowed"
    );
    let end = told(&mut events).await;
    assert!(
        end.starts_with("box websocket good.example:443 GET /socket allowed, ended after 4935250/"),
        "{end}"
    );
}

#[tokio::test]
async fn an_upstream_that_wants_no_websocket_answers_as_usual() {
    let world = World::with(&["http/1.1"], echo()).await;
    let (head, _) = open(&world).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
}

#[tokio::test]
async fn a_policy_that_changes_ends_a_websocket() {
    let world = World::with(&["http/1.1"], socket_echo()).await;
    let (_, mut stream) = open(&world).await;
    world.outside.changed.notify_waiters();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_socket_whose_upstream_ends_ends_too() {
    let server = handler(|mut request| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move { drop(upgrade.await) });
        let answer = http::Response::builder()
            .status(101)
            .header("connection", "upgrade");
        answer
            .header("upgrade", "websocket")
            .body(full(""))
            .unwrap()
    });
    let world = World::with(&["http/1.1"], server).await;
    let (head, mut stream) = open(&world).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}
