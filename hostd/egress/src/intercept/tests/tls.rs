use std::process::Stdio;

use super::super::session::Wire;
use super::world::*;
use http_body_util::BodyExt as _;

async fn ask(world: &World) -> (u16, String) {
    let mut client = world.http1().await;
    let (status, _, text) = read(client.send_request(get(false, "/")).await.unwrap()).await;
    (status, text)
}

#[tokio::test]
async fn an_upstream_with_another_hosts_certificate_gets_nothing() {
    let world = World::new();
    world
        .tls_upstream(GOOD, "other.example", &["http/1.1"], echo())
        .await;
    let (status, text) = ask(&world).await;
    assert_eq!(status, 502);
    assert!(
        text.starts_with(
            "thaw: the upstream good.example:443 showed a certificate that is not valid:"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn an_upstream_that_nobody_vouches_for_gets_nothing() {
    let (world, other) = (World::new(), World::with(&["http/1.1"], echo()).await);
    let place = other.outside.places.lock().unwrap()[GOOD];
    world
        .outside
        .places
        .lock()
        .unwrap()
        .insert(GOOD.into(), place);
    let (status, text) = ask(&world).await;
    assert_eq!(status, 502);
    assert!(text.contains("certificate that is not valid"), "{text}");
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_told_of() {
    let (status, text) = ask(&World::new()).await;
    assert_eq!(
        (status, text.as_str()),
        (
            502,
            "thaw: the upstream good.example:443 could not be reached: no such host\n"
        )
    );
}

#[tokio::test]
async fn an_upstream_without_tls_gets_nothing() {
    let world = World::new();
    world.plain_upstream(GOOD, false, echo()).await;
    let (status, text) = ask(&world).await;
    assert_eq!(status, 502);
    assert!(text.contains("broke off the TLS handshake"), "{text}");
}

#[tokio::test]
async fn a_policy_that_changes_acts_on_the_next_request() {
    let world = World::with(&["http/1.1"], echo()).await;
    let mut client = world.http1().await;
    assert_eq!(
        read(client.send_request(get(false, "/")).await.unwrap())
            .await
            .0,
        200
    );
    world.outside.forbidden.lock().unwrap().push(GOOD.into());
    client.ready().await.unwrap();
    assert_eq!(
        read(client.send_request(get(false, "/")).await.unwrap())
            .await
            .0,
        403
    );
}

#[tokio::test]
async fn a_policy_that_changes_ends_what_is_still_open() {
    let (_events, body) = channel();
    let body = std::sync::Mutex::new(Some(body));
    let server = handler(move |_| {
        let body = body.lock().unwrap().take().unwrap();
        async { http::Response::new(body) }
    });
    let world = World::with(&["http/1.1"], server).await;
    let answer = world
        .http1()
        .await
        .send_request(get(false, "/"))
        .await
        .unwrap();
    world.outside.changed.notify_waiters();
    assert!(answer.into_body().collect().await.is_err());
}

/// The program that most people would try first; a machine without it skips this.
#[tokio::test]
async fn curl_gets_its_answer_over_each_version() {
    for version in ["--http1.1", "--http2"] {
        let world = World::with(&["h2", "http/1.1"], echo()).await;
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root.pem");
        std::fs::write(&root, world.common.authority.certificate_pem()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let opened = super::super::session::Opened {
            wire: Wire::Tls,
            port: 443,
            host: Some(crate::policy::Host::Name(GOOD.parse().unwrap())),
            fallback: None,
        };
        let mut curl = tokio::process::Command::new("curl");
        curl.args([
            "-sS",
            "--max-time",
            "20",
            version,
            "--data",
            "x=y",
            "--cacert",
        ])
        .arg(&root);
        curl.args([
            "--connect-to",
            &format!("{GOOD}:443:127.0.0.1:{port}"),
            &format!("https://{GOOD}/curl"),
        ]);
        let Ok(child) = curl
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
        else {
            eprintln!("skipped: no curl on this machine");
            return;
        };
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(super::super::serve_opened(
            stream,
            world.common.clone(),
            opened,
        ));
        let output = child.wait_with_output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.starts_with("POST /curl ") && text.ends_with("\n\nx=y"),
            "{version} {text} {output:?}"
        );
    }
}
