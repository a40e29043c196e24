//! Figures for Prometheus.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::host::{Host, PATIENCE};

/// What hostd answers on a fresh connection.
async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let read = stream.read_to_string(&mut text);
    tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    text
}

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: hostd\r\nconnection: close\r\n\r\n")
}

fn value(text: &str, series: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    lines.find(|(name, _)| *name == series)?.1.parse().ok()
}

#[tokio::test]
async fn sandboxes_are_counted() {
    let host = Host::start_with(&["--metrics", "127.0.0.1:0"]).await;
    let address = host.metrics.unwrap();
    let get = request("GET", "/metrics");
    let text = ask(address, &get).await;
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    assert!(text.contains("application/openmetrics-text"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert_eq!(value(&text, r#"thaw_sandboxes{state="running"}"#), Some(0));
    let sandbox = host.boot("").await.unwrap();
    let text = ask(address, &get).await;
    assert_eq!(value(&text, r#"thaw_sandboxes{state="running"}"#), Some(1));
    // Where this host can have networks.
    if value(&text, "thaw_networks_ready").is_some() {
        let decided = r#"thaw_egress_decisions_total{protocol="http",outcome="refused"}"#;
        assert_eq!(value(&text, decided), Some(0), "{text}");
        let down = r#"thaw_egress_bytes_total{direction="down"}"#;
        assert_eq!(value(&text, down), Some(0), "{text}");
    }
    assert!(value(&text, "thaw_sandboxes_limit").is_some_and(|limit| limit > 0));
    assert!(!text.contains(&sandbox.id), "{text}");
    host.kill(&sandbox.id).await;
    let text = ask(address, &get).await;
    assert_eq!(value(&text, r#"thaw_sandboxes{state="running"}"#), Some(0));
}

#[tokio::test]
async fn nothing_else_is_there_and_nobody_holds_it_up() {
    let mut host = Host::start_with(&["--metrics", "127.0.0.1:0"]).await;
    let address = host.metrics.unwrap();
    for (request, status) in [
        (request("GET", "/"), "404"),
        (request("POST", "/metrics"), "405"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
    ] {
        let answer = ask(address, &request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
    }
    // As many silent connections as there are places, and more.
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let pid = Pid::from_raw(host.child.id().unwrap().try_into().unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), host.child.wait()).await;
    assert!(ended.unwrap().unwrap().success());
}
