use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stage::{LOOPBACK, NOWHERE, Stage, echo_host, hasty, hello, host, mirror_host, talk};
use crate::gate::Limits;
use crate::policy::Fallback;
use crate::testing::{only, policy};

const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 49];

/// The host at another address, where nobody is.
fn elsewhere(host: SocketAddr) -> SocketAddr {
    (NOWHERE, host.port()).into()
}

#[tokio::test]
async fn tls_to_an_allowed_name_passes_untouched_wherever_the_guest_says_it_is() {
    let host = mirror_host().await;
    let mut stage = Stage::new(only(&["good.example+private"]), Limits::default()).await;
    let bytes = hello("good.example").await;
    // The guest's address is not what is dialled.
    let guest = stage.connect(elsewhere(host)).await;
    assert_eq!(talk(guest, &bytes).await.unwrap(), bytes);
    let port = host.port();
    assert_eq!(
        stage.told().await,
        format!("box tls good.example:{port} allowed")
    );
    let length = bytes.len();
    let end = format!("box tls good.example:{port} allowed, ended after {length}/{length} bytes");
    assert_eq!(stage.told().await, end);
    assert_eq!((stage.counts().passed, stage.counts().refused), (1, 0));
}

#[tokio::test]
async fn tls_to_another_name_is_refused_by_an_alert() {
    let host = mirror_host().await;
    let mut stage = Stage::new(only(&["good.example+private"]), Limits::default()).await;
    stage.given("good.example", LOOPBACK);
    let guest = stage.connect(host).await;
    assert_eq!(
        talk(guest, &hello("evil.example").await).await.unwrap(),
        ALERT
    );
    assert!(
        stage.told().await.contains("evil.example"),
        "the refused name is told"
    );
    assert_eq!(stage.counts().refused, 1);
    assert!(
        stage.dns.asked().is_empty(),
        "a refused name is not looked up"
    );
}

#[tokio::test]
async fn a_name_that_moved_to_a_private_address_is_refused() {
    let host = mirror_host().await;
    let mut stage = Stage::new(policy(Fallback::Allow, &[], &[]), Limits::default()).await;
    let guest = stage.connect(host).await;
    assert_eq!(
        talk(guest, &hello("good.example").await).await.unwrap(),
        ALERT
    );
    assert!(stage.told().await.contains("127.0.0.1 is"));
}

#[tokio::test]
async fn a_bare_address_needs_an_entry_of_its_own() {
    let host = echo_host().await;
    for (allow, passes) in [
        (vec!["127.0.0.1"], true),
        (vec!["*"], false),
        (vec!["0.0.0.0/0"], false),
    ] {
        let stage = Stage::new(policy(Fallback::Allow, &allow, &[]), Limits::default()).await;
        let guest = stage.connect(host).await;
        let answer = talk_half_closed(guest, b"\x00binary").await;
        assert_eq!(
            answer.is_some_and(|a| a == b"\x00binary"),
            passes,
            "{allow:?}"
        );
    }
}

async fn talk_half_closed(mut stream: TcpStream, bytes: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(bytes).await.ok()?;
    stream.shutdown().await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    Some(answer)
}

#[tokio::test]
async fn other_protocols_go_by_the_name_that_the_address_was_given_for() {
    let host = echo_host().await;
    let mut stage = Stage::new(only(&["good.example+private"]), Limits::default()).await;
    assert!(
        talk_half_closed(stage.connect(host).await, b"\x00a")
            .await
            .is_none()
    );
    assert!(stage.told().await.contains("refused"));
    stage.given("other.example", LOOPBACK);
    stage.given("good.example", LOOPBACK);
    stage.given("third.example", LOOPBACK);
    let answer = talk_half_closed(stage.connect(host).await, b"\x00a").await;
    assert_eq!(answer.unwrap(), b"\x00a");
    let port = host.port();
    assert_eq!(
        stage.told().await,
        format!("box tcp good.example:{port} allowed")
    );
}

#[tokio::test]
async fn a_server_that_greets_is_heard() {
    let host = host(|mut stream| async move {
        stream.write_all(b"220 hello\r\n").await.unwrap();
        let mut line = [0; 6];
        stream.read_exact(&mut line).await.unwrap();
        stream.write_all(&line).await.unwrap();
    })
    .await;
    let stage = Stage::new(only(&["good.example+private"]), hasty()).await;
    stage.given("good.example", LOOPBACK);
    let mut guest = stage.connect(host).await;
    let mut greeting = [0; 11];
    guest.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 hello\r\n");
    assert_eq!(talk(guest, b"QUIT\r\n").await.unwrap(), b"QUIT\r\n");
}

#[tokio::test]
async fn waiting_before_the_hello_hides_nothing() {
    let host = mirror_host().await;
    let mut stage = Stage::new(only(&["good.example+private"]), hasty()).await;
    stage.given("good.example", LOOPBACK);
    let guest = stage.connect(host).await;
    tokio::time::sleep(hasty().silence * 4).await;
    assert_eq!(
        talk(guest, &hello("evil.example").await).await.unwrap(),
        ALERT
    );
    assert!(stage.told().await.contains("evil.example"));
}

#[tokio::test]
async fn a_host_that_hangs_up_on_silence_makes_nothing_pass() {
    let host = host(|stream| async move { drop(stream) }).await;
    let stage = Stage::new(only(&["good.example+private"]), hasty()).await;
    stage.given("good.example", LOOPBACK);
    let guest = stage.connect(host).await;
    tokio::time::sleep(hasty().silence * 4).await;
    assert_eq!(
        talk(guest, &hello("evil.example").await).await.unwrap(),
        ALERT
    );
    assert_eq!(stage.counts().passed, 0);
}

#[tokio::test]
async fn first_bytes_that_decide_nothing_are_not_waited_for_for_long() {
    let host = mirror_host().await;
    let mut stage = Stage::new(policy(Fallback::Allow, &["127.0.0.1"], &[]), hasty()).await;
    for (bytes, reason) in [(&b"GET /"[..], "in time"), (&[22, 3, 1][..], "in time")] {
        assert!(
            talk(stage.connect(host).await, bytes)
                .await
                .is_none_or(|a| a.is_empty())
        );
        assert!(stage.told().await.ends_with(reason));
    }
    let answer = talk(stage.connect(host).await, &[22, 3, 1, 0, 1, 7]).await;
    assert_eq!(answer.unwrap(), ALERT);
    assert!(stage.told().await.ends_with("malformed"));
    assert_eq!(stage.counts().passed, 0);
}

#[tokio::test]
async fn cleartext_http_is_answered_with_the_reason() {
    let stage = Stage::new(only(&["good.example"]), Limits::default()).await;
    let guest = stage.connect((NOWHERE, 80).into()).await;
    let request = b"GET /x HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
    let answer = String::from_utf8(talk(guest, request).await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(
        answer.contains("not allowed by the sandbox's policy"),
        "{answer}"
    );
    assert_eq!(stage.counts().opened, 1);
}

#[tokio::test]
async fn a_host_that_nobody_is_at_resets() {
    let mut stage = Stage::new(only(&["good.example+private"]), Limits::default()).await;
    let guest = stage.connect((LOOPBACK, 1).into()).await;
    assert!(talk(guest, &hello("good.example").await).await.is_none());
    assert!(stage.told().await.contains("failed"));
    assert_eq!(stage.counts().failed, 1);
}

#[tokio::test]
async fn names_that_are_only_connected_to_count_as_names_that_are_asked_for() {
    let limits = Limits {
        names_each_minute: 3.try_into().unwrap(),
        ..Limits::default()
    };
    let stage = Stage::new(only(&["*.tunnel.example"]), limits).await;
    for n in 0..20 {
        let guest = stage.connect((NOWHERE, 443).into()).await;
        let _ = talk(guest, &hello(&format!("data{n}.tunnel.example")).await).await;
    }
    assert_eq!(stage.dns.asked().len(), 3);
}
