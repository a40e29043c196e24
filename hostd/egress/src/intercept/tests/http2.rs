use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;

use super::super::session::Wire;
use super::world::*;

#[tokio::test]
async fn a_request_arrives_as_it_was_sent() {
    let world = World::with(&["h2", "http/1.1"], echo()).await;
    let mut client = world.http2().await;
    let (status, _, text) = read(
        client
            .send_request(request(true, "POST", "/a?b", full("body")))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(status, 200);
    assert_eq!(
        text,
        "POST /a?b good.example HTTP/2.0\ncontent-length: 4\n\nbody"
    );
}

#[tokio::test]
async fn the_guest_is_offered_what_the_upstream_chose() {
    for (upstream, guest, agreed) in [
        (&["h2", "http/1.1"][..], &["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1"], &["h2", "http/1.1"], Some("http/1.1")),
        (&["h2", "http/1.1"], &["http/1.1"], Some("http/1.1")),
        (&[], &["h2", "http/1.1"], Some("http/1.1")),
        (&["h2", "http/1.1"], &["h2"], Some("h2")),
        (&["h2", "http/1.1"], &[], None),
    ] {
        let world = World::with(upstream, echo()).await;
        let stream = world.connect_tls(guest).await;
        assert_eq!(
            stream.get_ref().1.alpn_protocol(),
            agreed.map(str::as_bytes),
            "{upstream:?} {guest:?}"
        );
    }
}

#[tokio::test]
async fn many_streams_share_one_upstream_connection() {
    let world = World::with(&["h2"], echo()).await;
    let client = world.http2().await;
    let answers = (0..50).map(|n| {
        let mut client = client.clone();
        async move {
            read(
                client
                    .send_request(get(true, &format!("/{n}")))
                    .await
                    .unwrap(),
            )
            .await
            .2
        }
    });
    let texts = futures::future::join_all(answers).await;
    assert!(
        texts
            .iter()
            .enumerate()
            .all(|(n, text)| text.starts_with(&format!("GET /{n} ")))
    );
    assert_eq!(world.dialled(), ["good.example:443"]);
}

/// gRPC's shape: both sides send in turns, and the answer ends with trailers.
#[tokio::test]
async fn both_directions_stream_at_once_and_end_with_trailers() {
    let server = handler(|request| async {
        assert_eq!(request.headers().get("te").unwrap(), "trailers");
        let (sender, body) = channel();
        let mut incoming = request.into_body();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = incoming.frame().await {
                let data = frame.into_data().unwrap();
                // The end of the stream is a frame of its own.
                if data.is_empty() {
                    continue;
                }
                sender
                    .send(Ok(Frame::data([b"re: ", &data[..]].concat().into())))
                    .await
                    .unwrap();
            }
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            sender.send(Ok(Frame::trailers(trailers))).await.unwrap();
        });
        http::Response::builder()
            .header("content-type", "application/grpc")
            .body(body)
            .unwrap()
    });
    let world = World::with(&["h2"], server).await;
    let (sender, body) = channel();
    let mut call = request(true, "POST", "/pkg.Service/Method", body);
    call.headers_mut().insert("te", "trailers".parse().unwrap());
    let mut answer = world
        .http2()
        .await
        .send_request(call)
        .await
        .unwrap()
        .into_body();
    for n in 0..3 {
        sender
            .send(Ok(Frame::data(Bytes::from(format!("{n}")))))
            .await
            .unwrap();
        assert_eq!(
            answer.frame().await.unwrap().unwrap().into_data().unwrap(),
            format!("re: {n}")
        );
    }
    drop(sender);
    let trailers = answer
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_trailers()
        .unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "0");
}

#[tokio::test]
async fn another_authority_is_misdirected_and_others_go_on() {
    let world = World::with(&["h2"], echo()).await;
    let mut client = world.http2().await;
    for (uri, host, status) in [
        ("https://evil.example/", None, 421),
        ("https://good.example:8443/", None, 421),
        ("http://good.example/", None, 400),
        ("https://good.example/", Some("evil.example"), 400),
        ("https://good.example/", Some("good.example"), 200),
        ("https://u@good.example/", None, 400),
    ] {
        let mut builder = http::Request::builder()
            .version(http::Version::HTTP_2)
            .uri(uri);
        if let Some(host) = host {
            builder = builder.header("host", host);
        }
        client.ready().await.unwrap();
        let response = client
            .send_request(builder.body(full("")).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), status, "{uri} {host:?}");
    }
    let connect = http::Request::builder()
        .method("CONNECT")
        .uri("good.example:443")
        .body(full(""))
        .unwrap();
    assert_eq!(client.send_request(connect).await.unwrap().status(), 405);
}

#[tokio::test]
async fn prior_knowledge_works_in_the_clear_with_an_authority_for_each_request() {
    let world = World::new();
    world.plain_upstream("a.example", true, echo()).await;
    world.plain_upstream("b.example", true, echo()).await;
    let stream = world.connect(Wire::Http2, GOOD).await;
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    tokio::spawn(connection);
    for host in ["a.example", "b.example", "a.example"] {
        let request = http::Request::builder()
            .uri(format!("http://{host}/x"))
            .body(full(""))
            .unwrap();
        let text = read(client.send_request(request).await.unwrap()).await.2;
        assert_eq!(text, format!("GET /x {host} HTTP/2.0\n\n"));
    }
    assert_eq!(world.dialled(), ["a.example:80", "b.example:80"]);
}

/// Debian 12's curl loses an answer after which its request is reset.
#[tokio::test]
async fn a_refused_request_is_read_to_its_end() {
    let world = World::with(&["h2"], echo()).await;
    let mut client = world.http2().await;
    let (told, read_to_its_end) = tokio::sync::oneshot::channel();
    let late = futures::stream::unfold(Some(told), |told| async {
        // A body that is asked for more after its end was sent: then the stream was not reset.
        tokio::time::sleep(Duration::from_millis(200)).await;
        told?.send(()).unwrap();
        Some((Ok(Frame::data(Bytes::from("late"))), None))
    });
    let mut refused = request(true, "POST", "/", StreamBody::new(late).boxed());
    *refused.uri_mut() = "https://evil.example/".parse().unwrap();
    let (status, _, _) = read(client.send_request(refused).await.unwrap()).await;
    assert_eq!(status, 421);
    read_to_its_end.await.unwrap();
}
