//! Guests that mean harm: their own connection suffers, nobody else's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::super::session::Wire;
use super::world::*;

/// Far more than anything here takes: a hang fails, slowness does not.
const PATIENCE: Duration = Duration::from_secs(60);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

async fn others_are_served(world: &World) {
    for _ in 0..10 {
        let answer = world
            .http2()
            .await
            .send_request(get(true, "/"))
            .await
            .unwrap();
        assert_eq!(timeout(PATIENCE, read(answer)).await.unwrap().0, 200);
    }
}

/// Writes `frame` over and over until the connection ends; a guest that does not read is stopped by flow control.
async fn flood(world: &World, frame: &'static [u8]) -> tokio::task::JoinHandle<()> {
    let mut stream = world.connect_tls(&["h2"]).await;
    let many = frame.repeat(1000);
    tokio::spawn(async move {
        let _ = stream.write_all(PREFACE).await;
        while stream.write_all(&many).await.is_ok() {}
    })
}

#[tokio::test]
async fn settings_and_pings_without_end_are_their_senders_trouble() {
    let world = World::with(&["h2"], echo()).await;
    let settings = flood(&world, b"\x00\x00\x00\x04\x00\x00\x00\x00\x00").await;
    let pings = flood(&world, b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678").await;
    let empty = flood(&world, b"\x00\x00\x00\x00\x00\x00\x00\x00\x01").await;
    others_are_served(&world).await;
    settings.abort();
    pings.abort();
    empty.abort();
}

#[tokio::test]
async fn streams_that_are_reset_at_once_do_not_pile_up() {
    let world = World::with(&["h2"], echo()).await;
    let stream = world.connect_tls(&["h2"]).await;
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    let driven = tokio::spawn(connection);
    for _ in 0..5000 {
        let request = http::Request::get("https://good.example/")
            .body(())
            .unwrap();
        let Ok(mut ready) = client.clone().ready().await else {
            break;
        };
        let Ok((_, mut stream)) = ready.send_request(request, false) else {
            break;
        };
        stream.send_reset(h2::Reason::CANCEL);
    }
    others_are_served(&world).await;
    drop(client);
    timeout(PATIENCE, driven).await.unwrap().unwrap().ok();
}

/// Resets that come before the server has looked at the streams (CVE-2023-44487): the connection is ended.
#[tokio::test]
async fn resets_in_one_burst_end_the_connection() {
    let world = World::with(&["h2"], echo()).await;
    let mut stream = world.connect_tls(&["h2"]).await;
    let mut burst = PREFACE.to_vec();
    for id in (1..2001u32).step_by(2) {
        // GET / https good.example, from HPACK's static table and a literal.
        let block = b"\x82\x84\x87\x41\x0cgood.example";
        burst.extend_from_slice(&[0, 0, block.len() as u8, 1, 5]);
        burst.extend_from_slice(&id.to_be_bytes());
        burst.extend_from_slice(block);
        burst.extend_from_slice(b"\x00\x00\x04\x03\x00");
        burst.extend_from_slice(&id.to_be_bytes());
        burst.extend_from_slice(&8u32.to_be_bytes());
    }
    let _ = stream.write_all(&burst).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("it stayed open");
    others_are_served(&world).await;
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let world = World::with(&["h2"], echo()).await;
    let mut stream = world.connect_tls(&["h2"]).await;
    let mut bytes = PREFACE.to_vec();
    bytes.extend_from_slice(b"\x00\x00\x01\x01\x01\x00\x00\x00\x01\x82");
    let _ = stream.write_all(&bytes).await;
    // CONTINUATION frames of one literal header each, none of which is the last.
    let mut frame = b"\x00\x00\x08\x09\x00\x00\x00\x00\x01".to_vec();
    frame.extend_from_slice(b"\x00\x02xy\x02zz\x00");
    let mut frames = 0;
    while stream.write_all(&frame[..17]).await.is_ok() && frames < 200_000 {
        frames += 1;
    }
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("it stayed open");
    others_are_served(&world).await;
}

#[tokio::test]
async fn a_large_header_list_is_refused_alone() {
    let world = World::with(&["h2"], echo()).await;
    let mut client = world.http2().await;
    let mut large = get(true, "/");
    for n in 0..200 {
        large.headers_mut().insert(
            http::HeaderName::try_from(format!("x-{n}")).unwrap(),
            "y".repeat(1000).parse().unwrap(),
        );
    }
    let refused = client.send_request(large).await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status() == 431));
    others_are_served(&world).await;
}

#[tokio::test]
async fn more_streams_than_allowed_wait_or_fail_and_none_is_lost() {
    let waiting = handler(|request| async {
        // Answers when the body ends, so that all streams are open at once.
        let body = request.into_body().collect().await;
        http::Response::new(full(if body.is_ok() { "ok" } else { "broken" }))
    });
    let world = World::with(&["h2"], waiting).await;
    let client = world.http2().await;
    let calls = (0..400).map(|_| {
        let mut client = client.clone();
        async move {
            client.ready().await.unwrap();
            read(
                client
                    .send_request(request(true, "POST", "/", full("x")))
                    .await
                    .unwrap(),
            )
            .await
            .2
        }
    });
    let texts = timeout(PATIENCE, futures::future::join_all(calls))
        .await
        .unwrap();
    assert!(texts.iter().all(|text| text == "ok"));
}

/// A guest that does not read holds what flow control allows, and no more goes into the proxy.
#[tokio::test]
async fn requests_without_a_place_are_refused_and_places_are_given_back() {
    let world = World::with(&["h2"], echo()).await;
    let places = Arc::clone(&world.common.requests);
    let all = u32::try_from(places.available_permits()).unwrap();
    let taken = places.acquire_many(all - 1).await.unwrap();
    let mut guest = world.http2().await;
    let answer = guest.send_request(get(true, "/")).await.unwrap();
    assert_eq!(read(answer).await.0, 200);
    // The only place is given back with the answer's end.
    let last = timeout(PATIENCE, places.acquire()).await.unwrap();
    let answer = guest.send_request(get(true, "/")).await.unwrap();
    assert_eq!(answer.status(), 429);
    drop((last, taken));
    let answer = guest.send_request(get(true, "/")).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn a_guest_that_does_not_read_stops_the_upstream() {
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counting = std::sync::Arc::clone(&sent);
    let server = handler(move |_| {
        let (sender, body) = channel();
        let counting = std::sync::Arc::clone(&counting);
        tokio::spawn(async move {
            let block = Bytes::from(vec![0; 64 << 10]);
            while sender
                .send(Ok(hyper::body::Frame::data(block.clone())))
                .await
                .is_ok()
            {
                counting.fetch_add(block.len(), std::sync::atomic::Ordering::Relaxed);
            }
        });
        async { http::Response::new(body) }
    });
    let world = World::with(&["h2"], server).await;
    let answer = world
        .http2()
        .await
        .send_request(get(true, "/"))
        .await
        .unwrap();
    // Until nothing moves any more.
    let mut last = usize::MAX;
    while last != sent.load(std::sync::atomic::Ordering::Relaxed) {
        last = sent.load(std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(last < 32 << 20, "{last} bytes went nowhere");
    drop(answer);
}

/// Slow heads are the header timeout's business; their number is the gate's. Here: they cost the others nothing.
#[tokio::test]
async fn heads_that_never_end_keep_nobody_waiting() {
    let world = World::with(&["h2", "http/1.1"], echo()).await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        let mut stream = world.connect(Wire::Http1, GOOD).await;
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: good")
            .await
            .unwrap();
        slow.push(stream);
    }
    others_are_served(&world).await;
}

/// The timeout itself, on a paused clock.
#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_ends_the_connection() {
    let world = World::new();
    let mut stream = world.connect(Wire::Http1, GOOD).await;
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: good")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
}
