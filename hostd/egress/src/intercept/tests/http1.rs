use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::session::Wire;
use super::world::*;
use http_body_util::BodyExt as _;

#[tokio::test]
async fn a_request_arrives_as_it_was_sent_and_so_does_its_answer() {
    let world = World::with(&["http/1.1"], echo()).await;
    let mut client = world.http1().await;
    let mut request = request(false, "POST", "/a%20b?c=d", full("body"));
    request.headers_mut().insert("x-mine", "1".parse().unwrap());
    let (status, headers, text) = read(client.send_request(request).await.unwrap()).await;
    assert_eq!(status, 200);
    assert!(!headers.contains_key("via") && !headers.contains_key("x-forwarded-for"));
    assert_eq!(
        text,
        "POST /a%20b?c=d  HTTP/1.1\ncontent-length: 4\nhost: good.example\nx-mine: 1\n\nbody"
    );
}

#[tokio::test]
async fn a_kept_connection_has_one_upstream_connection() {
    let world = World::with(&["http/1.1"], echo()).await;
    let mut client = world.http1().await;
    for _ in 0..5 {
        client.ready().await.unwrap();
        assert_eq!(
            read(client.send_request(get(false, "/")).await.unwrap())
                .await
                .0,
            200
        );
    }
    assert_eq!(world.dialled(), ["good.example:443"]);
}

#[tokio::test]
async fn a_connection_that_the_upstream_closes_after_each_answer_is_dialled_again() {
    let closing = handler(|_| async {
        http::Response::builder()
            .header("connection", "close")
            .body(full("ok"))
            .unwrap()
    });
    let world = World::with(&["http/1.1"], closing).await;
    let mut client = world.http1().await;
    for _ in 0..3 {
        client.ready().await.unwrap();
        let (status, headers, text) =
            read(client.send_request(get(false, "/")).await.unwrap()).await;
        assert_eq!((status, text.as_str()), (200, "ok"));
        assert!(!headers.contains_key("connection"));
    }
}

/// Servers end connections that were quiet for a while, without a word before. What was not sent yet goes on a new one, also
/// what may not be sent twice.
#[tokio::test]
async fn a_kept_connection_that_ended_is_dialled_again() {
    for request in [
        "GET / HTTP/1.1\r\nhost: good.example\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: good.example\r\ncontent-length: 4\r\n\r\nbody",
    ] {
        let world = World::new();
        let (ended, mut ends) = tokio::sync::mpsc::channel(1);
        world
            .raw_upstream(GOOD, move |mut stream| {
                let ended = ended.clone();
                async move {
                    let mut buffer = [0; 1024];
                    let _ = stream.read(&mut buffer).await;
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                        .await;
                    drop(stream);
                    let _ = ended.send(()).await;
                }
            })
            .await;
        let mut guest = world.connect(Wire::Http1, GOOD).await;
        for n in 1..=5 {
            guest.write_all(request.as_bytes()).await.unwrap();
            let mut answer = [0; 40];
            guest.read_exact(&mut answer).await.unwrap();
            assert!(answer.ends_with(b"\r\n\r\nok"), "{request}");
            assert_eq!(world.dialled().len(), n, "{request}");
            ends.recv().await.unwrap();
        }
    }
}

#[tokio::test]
async fn large_bodies_arrive_exactly_both_ways() {
    let size = 64 << 20;
    let back = handler(|request| async { http::Response::new(request.into_body().boxed()) });
    for h2 in [false, true] {
        let world = World::with(&["h2", "http/1.1"], back.clone()).await;
        let bytes: Vec<u8> = (0..size).map(|n: u32| (n ^ (n >> 8)) as u8).collect();
        let request = request(h2, "POST", "/", full(bytes.clone()));
        let response = if h2 {
            world.http2().await.send_request(request).await.unwrap()
        } else {
            world.http1().await.send_request(request).await.unwrap()
        };
        let got = response.into_body().collect().await.unwrap().to_bytes();
        assert!(got == bytes, "h2: {h2}");
    }
}

#[tokio::test]
async fn an_event_stream_arrives_event_by_event() {
    let (events, body) = channel();
    let body = std::sync::Mutex::new(Some(body));
    let server = handler(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async {
            http::Response::builder()
                .header("content-type", "text/event-stream")
                .body(body)
                .unwrap()
        }
    });
    let world = World::with(&["http/1.1"], server).await;
    let mut client = world.http1().await;
    let mut body = client
        .send_request(get(false, "/"))
        .await
        .unwrap()
        .into_body();
    // Each event is sent only after the one before has arrived.
    for n in 0..5 {
        let event = format!("data: {n}\n\n");
        events
            .send(Ok(hyper::body::Frame::data(event.clone().into())))
            .await
            .unwrap();
        let got = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(got, event);
    }
}

#[tokio::test]
async fn heads_without_bodies_stay_so() {
    let server = handler(|request| async move {
        let builder = http::Response::builder();
        match request.uri().path() {
            "/204" => builder.status(204).body(full("")).unwrap(),
            "/304" => builder
                .status(304)
                .header("etag", "\"x\"")
                .body(full(""))
                .unwrap(),
            _ => builder
                .header("content-length", "12345")
                .body(full(""))
                .unwrap(),
        }
    });
    let world = World::with(&["http/1.1"], server).await;
    let mut client = world.http1().await;
    for (method, path, status, length) in [
        ("HEAD", "/", 200, Some("12345")),
        ("GET", "/204", 204, None),
        ("GET", "/304", 304, None),
        ("HEAD", "/", 200, Some("12345")),
    ] {
        client.ready().await.unwrap();
        let response = client
            .send_request(request(false, method, path, full("")))
            .await
            .unwrap();
        let (got, headers, text) = read(response).await;
        assert_eq!((got, text.as_str()), (status, ""));
        assert_eq!(
            headers
                .get("content-length")
                .map(|value| value.to_str().unwrap()),
            length,
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it() {
    let world = World::with(&["http/1.1"], echo()).await;
    let mut stream = world.connect_tls(&["http/1.1"]).await;
    let head = "POST / HTTP/1.1\r\nhost: good.example\r\nexpect: 100-continue\r\ncontent-length: 4\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest).await;
    assert!(
        rest.starts_with("HTTP/1.1 200 OK\r\n") && rest.ends_with("\n\nbody"),
        "{rest}"
    );
}

#[tokio::test]
async fn what_is_refused_has_a_status_and_a_reason() {
    let world = World::with(&["http/1.1"], echo()).await;
    for (head, status) in [
        ("GET / HTTP/1.1\r\nhost: evil.example\r\n", 421),
        ("GET / HTTP/1.1\r\nhost: good.example:8443\r\n", 421),
        (
            "GET https://evil.example/ HTTP/1.1\r\nhost: evil.example\r\n",
            421,
        ),
        (
            "GET https://evil.example/ HTTP/1.1\r\nhost: good.example\r\n",
            400,
        ),
        (
            "GET http://good.example/ HTTP/1.1\r\nhost: good.example\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\n", 400),
        (
            "GET / HTTP/1.1\r\nhost: good.example\r\nhost: good.example\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nhost: good.example\r\nhost: evil.example\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nhost: good.example, evil.example\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nhost: user@good.example\r\n", 400),
        (
            "CONNECT good.example:443 HTTP/1.1\r\nhost: good.example\r\n",
            405,
        ),
        ("TRACE / HTTP/1.1\r\nhost: good.example\r\n", 405),
        (
            "POST / HTTP/1.1\r\nhost: good.example\r\ntransfer-encoding: gzip, chunked\r\n",
            501,
        ),
        // hyper's own strictness.
        (
            "GET / HTTP/1.1\r\nhost: good.example\r\nx: a\r\n b\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nhost : good.example\r\n", 400),
        (
            "GET / HTTP/1.1\r\nhost: good.example\0.evil.example\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: good.example\r\ncontent-length: 1\r\ncontent-length: 2\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: good.example\r\ncontent-length: 1, 1\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: good.example\r\ncontent-length: +1\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: good.example\r\ncontent-length: -1\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: good.example\r\ntransfer-encoding: chunked, identity\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nhost: good.example\r\ntransfer-encoding: xchunked\r\n",
            400,
        ),
        (
            "POST / HTTP/1.0\r\nhost: good.example\r\ntransfer-encoding: chunked\r\n",
            400,
        ),
        ("G@T / HTTP/1.1\r\nhost: good.example\r\n", 400),
        ("GET / HTTP/1.2\r\nhost: good.example\r\n", 400),
        ("GET /a b HTTP/1.1\r\nhost: good.example\r\n", 400),
    ] {
        let answer = world
            .raw_tls(format!("{head}connection: close\r\n\r\n").as_bytes())
            .await;
        assert_eq!(
            answer.get(9..12),
            Some(status.to_string().as_str()),
            "{head}: {answer}"
        );
    }
    // Connections were opened to ask for the version, and nothing was asked of them.
    assert!(
        world
            .dialled()
            .iter()
            .all(|name| name == "good.example:443")
    );
}

#[tokio::test]
async fn a_request_of_http_1_0_may_name_no_host() {
    let world = World::with(&["http/1.1"], echo()).await;
    let answer = world.raw_tls(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.0 200 OK") && answer.ends_with("host: good.example\n\n"),
        "{answer}"
    );
    let answer = world.raw(b"GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 400 Bad Request"), "{answer}");
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let world = World::with(&["http/1.1"], echo()).await;
    let many = "x: y\r\n".repeat(1000);
    let large = format!("x: {}\r\n", "y".repeat(200 << 10));
    for headers in [many, large] {
        let answer = world
            .raw_tls(format!("GET / HTTP/1.1\r\nhost: {GOOD}\r\n{headers}\r\n").as_bytes())
            .await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
            "{answer}"
        );
    }
    let path = "x".repeat(70 << 10);
    let answer = world
        .raw_tls(format!("GET /{path} HTTP/1.1\r\nhost: {GOOD}\r\n\r\n").as_bytes())
        .await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

/// Whatever is smuggled, the upstream sees the messages that we saw, each with one length.
#[tokio::test]
async fn a_request_with_two_lengths_is_one_request() {
    let world = World::with(&["http/1.1"], echo()).await;
    for head in [
        "content-length: 45\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 45",
    ] {
        let smuggled = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: good.example\r\n\r\n";
        let request =
            format!("POST /first HTTP/1.1\r\nhost: good.example\r\n{head}\r\n\r\n{smuggled}");
        let answer = world.raw_tls(request.as_bytes()).await;
        assert!(answer.contains("POST /first  HTTP/1.1"), "{answer}");
        assert!(!answer.contains("content-length: 45"), "{answer}");
        // The connection ends after the answer, so what follows is no request.
        assert!(!answer.contains("/smuggled"), "{answer}");
    }
}

#[tokio::test]
async fn bare_line_feeds_are_written_anew() {
    let world = World::with(&["http/1.1"], echo()).await;
    let answer = world
        .raw_tls(b"GET /x HTTP/1.1\nhost: good.example\nx-a: b\nconnection: close\n\n")
        .await;
    assert!(
        answer.contains("GET /x  HTTP/1.1\nhost: good.example\nx-a: b\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_cleartext_connection_goes_where_each_request_says() {
    let world = World::new();
    world.plain_upstream("a.example", false, echo()).await;
    world.plain_upstream("b.example", false, echo()).await;
    world.plain_upstream("c.example", false, echo()).await;
    world
        .outside
        .forbidden
        .lock()
        .unwrap()
        .push("c.example".into());
    let ask = |host: &str, close| format!("GET /{host} HTTP/1.1\r\nhost: {host}\r\n{close}\r\n");
    let requests = [
        ask("a.example", ""),
        ask("c.example", ""),
        ask("b.example", ""),
        ask("a.example", "connection: close\r\n"),
    ];
    let answer = world.raw(requests.concat().as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    assert!(answer.contains("HTTP/1.1 403 Forbidden"), "{answer}");
    assert!(
        answer.contains("thaw: c.example:80: not allowed by the sandbox's policy\n"),
        "{answer}"
    );
    assert_eq!(world.dialled(), ["a.example:80", "b.example:80"]);
}

#[tokio::test]
async fn an_upgrade_to_http2_is_not_passed_on() {
    let world = World::new();
    world.plain_upstream(GOOD, false, echo()).await;
    let head = "GET / HTTP/1.1\r\nhost: good.example\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\nconnection: close, upgrade, http2-settings\r\n\r\n";
    let answer = world.raw(head.as_bytes()).await;
    assert!(
        answer.ends_with("GET /  HTTP/1.1\nhost: good.example\n\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_upstream_that_dies_in_its_answer_ends_the_guests_too() {
    let world = World::new();
    world
        .raw_upstream(GOOD, |mut stream| async move {
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
                .await
                .unwrap();
        })
        .await;
    let answer = world
        .raw(b"GET / HTTP/1.1\r\nhost: good.example\r\n\r\n")
        .await;
    assert!(
        answer.contains("Content-Length: 100") && answer.ends_with("\r\n\r\nhalf"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_upstream_that_answers_nonsense_is_a_bad_gateway() {
    for nonsense in [
        &b"hello\r\n\r\n"[..],
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: other\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"",
    ] {
        let world = World::new();
        world
            .raw_upstream(GOOD, move |mut stream| async move {
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await;
                stream.write_all(nonsense).await.unwrap();
            })
            .await;
        let answer = world
            .raw(b"GET / HTTP/1.1\r\nhost: good.example\r\nconnection: close\r\n\r\n")
            .await;
        assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway"), "{answer}");
        assert!(answer.contains("thaw: the upstream"), "{answer}");
    }
}

#[tokio::test]
async fn a_guest_that_dies_in_its_body_ends_the_upstreams_too() {
    let (began, mut has_begun) = tokio::sync::mpsc::channel(1);
    let (ended, mut has_ended) = tokio::sync::mpsc::channel(1);
    let server = handler(move |request| {
        let (began, ended) = (began.clone(), ended.clone());
        async move {
            began.send(()).await.unwrap();
            let broken = request.into_body().collect().await.is_err();
            ended.send(broken).await.unwrap();
            http::Response::new(full(""))
        }
    });
    let world = World::new();
    world.plain_upstream(GOOD, false, server).await;
    let mut stream = world.connect(Wire::Http1, GOOD).await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: good.example\r\ncontent-length: 100\r\n\r\nhalf")
        .await
        .unwrap();
    has_begun.recv().await.unwrap();
    drop(stream);
    assert_eq!(has_ended.recv().await, Some(true));
}

#[tokio::test]
async fn each_request_is_told_with_its_bytes_and_without_its_query() {
    let world = World::with(&["http/1.1"], echo()).await;
    let mut events = world.log.subscribe();
    let mut client = world.http1().await;
    read(
        client
            .send_request(request(false, "POST", "/p?q=hidden", full("12345")))
            .await
            .unwrap(),
    )
    .await;
    assert_eq!(
        told(&mut events).await,
        "box http good.example:443 POST /p allowed"
    );
    let end = told(&mut events).await;
    assert!(
        end.starts_with("box http good.example:443 POST /p allowed, ended after 5/"),
        "{end}"
    );
    client.ready().await.unwrap();
    let mut request = get(false, "/x");
    request
        .headers_mut()
        .insert("host", "evil.example".parse().unwrap());
    read(client.send_request(request).await.unwrap()).await;
    assert_eq!(
        told(&mut events).await,
        "box http port 443 GET /x refused: misdirected"
    );
}

#[tokio::test]
async fn an_answer_may_come_before_the_end_of_its_request() {
    const REST: usize = 3 << 20;
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let world = World::new();
    world
        .raw_upstream(GOOD, move |mut stream| {
            let told = told.clone();
            async move {
                let mut buffer = vec![0; 64 << 10];
                let _ = stream.read(&mut buffer).await.unwrap();
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly")
                    .await
                    .unwrap();
                let mut rest = 0;
                while rest < REST {
                    rest += stream.read(&mut buffer).await.unwrap();
                }
                told.send(rest).unwrap();
            }
        })
        .await;
    let mut guest = world.connect(Wire::Http1, GOOD).await;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: good.example\r\ncontent-length: {}\r\n\r\nx",
        REST + 1
    );
    guest.write_all(head.as_bytes()).await.unwrap();
    let (mut from, mut to) = guest.split();
    let mut answer = Vec::new();
    while !answer.ends_with(b"early") {
        assert_ne!(from.read_buf(&mut answer).await.unwrap(), 0);
    }
    // All of it: hyper reads the rest of what it was sent, and hands it on.
    let write = async { to.write_all(&vec![b'x'; REST]).await };
    let passed = tokio::time::timeout(std::time::Duration::from_secs(20), async {
        tokio::join!(write, heard.recv())
    });
    let (written, rest) = passed.await.unwrap();
    written.unwrap();
    assert_eq!(rest, Some(REST));
}

#[tokio::test]
async fn a_policy_that_changes_ends_what_an_upstream_still_sends_in_the_clear() {
    let world = World::new();
    world
        .raw_upstream(GOOD, |mut stream| async move {
            let mut buffer = [0; 1024];
            let _ = stream.read(&mut buffer).await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun";
            let _ = stream.write_all(head).await;
            std::future::pending::<()>().await;
        })
        .await;
    let mut guest = world.connect(Wire::Http1, GOOD).await;
    guest
        .write_all(b"GET / HTTP/1.1\r\nhost: good.example\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"begun") {
        assert_ne!(guest.read_buf(&mut answer).await.unwrap(), 0);
    }
    world.outside.changed.notify_waiters();
    let rest = guest.read_to_end(&mut answer);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), rest).await;
    assert!(ended.is_ok() && answer.ends_with(b"begun"));
}

#[tokio::test]
async fn a_policy_that_changes_ends_what_waits_for_an_answer_and_is_told_as_its() {
    let world = World::new();
    let (came, mut comes) = tokio::sync::mpsc::channel(1);
    world
        .raw_upstream(GOOD, move |mut stream| {
            let came = came.clone();
            async move {
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await;
                let _ = came.send(()).await;
                std::future::pending::<()>().await;
            }
        })
        .await;
    let mut guest = world.connect(Wire::Http1, GOOD).await;
    guest
        .write_all(b"GET / HTTP/1.1\r\nhost: good.example\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    comes.recv().await.unwrap();
    let forbidden = &world.outside.forbidden;
    forbidden.lock().unwrap().push(GOOD.to_owned());
    world.outside.changed.notify_waiters();
    let mut answer = String::new();
    let read = guest.read_to_string(&mut answer);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), read).await;
    ended.expect("an end").unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}
