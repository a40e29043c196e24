//! Requests from outside for what a sandbox has exposed.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::gateway::{TOKEN, post};
use crate::host::{Host, PATIENCE, boot_request};

const DOMAIN: &str = "boxes.example";

struct Ingress {
    host: Host,
    gateway: SocketAddr,
    address: SocketAddr,
    certificate: CertifiedKey<rcgen::KeyPair>,
    _files: TempDir,
}

impl Ingress {
    async fn start(secure: bool) -> Self {
        let files = tempfile::tempdir().unwrap();
        let certificate = generate_simple_self_signed([format!("*.{DOMAIN}")]).unwrap();
        let write = |name: &str, text: &str| {
            let path = files.path().join(name);
            fs::write(&path, text).unwrap();
            path.into_os_string().into_string().unwrap()
        };
        let token = write("token", TOKEN);
        let cert = write("cert.pem", &certificate.cert.pem());
        let key = write("key.pem", &certificate.signing_key.serialize_pem());
        let mut options = vec!["--gateway", "127.0.0.1:0", "--token-file", &token];
        options.extend(["--ingress", "127.0.0.1:0", "--ingress-domain", DOMAIN]);
        if secure {
            options.extend(["--ingress-cert", &cert, "--ingress-key", &key]);
        }
        let host = Host::start_with(&options).await;
        Self {
            gateway: host.gateway.unwrap(),
            address: host.ingress.unwrap(),
            host,
            certificate,
            _files: files,
        }
    }

    /// A sandbox, and a name of it.
    async fn exposed(&self, trouble: &str) -> (String, String) {
        let id = self.host.create(boot_request(trouble)).await.unwrap().id;
        let name = self.expose(&id).await.unwrap();
        (id, name)
    }

    async fn expose(&self, id: &str) -> Result<String, Value> {
        let path = format!("/api/v3/sandbox/{id}/expose/http");
        let told = within(post(self.gateway, &path)).await;
        let domain = told["domain"].as_str().map(str::to_owned);
        domain.ok_or(told)
    }

    /// A request in the clear, and the answer as it came.
    async fn ask(&self, host: &str, line: &str, more: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    /// TLS with the host's name.
    async fn secured(&self, name: &str, alpn: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        within(connecting).await.unwrap()
    }
}

async fn within<T>(doing: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, doing).await.unwrap()
}

#[tokio::test]
async fn a_request_arrives_and_says_who_asked() {
    let ingress = Ingress::start(false).await;
    let (_, name) = ingress.exposed("").await;
    let headers = "x-mine: 1\r\nx-forwarded-for: 192.0.2.1\r\nte: trailers\r\n\
                   proxy-authorization: Basic eA==\r\ncontent-length: 4\r\n\r\nbody";
    let answer = ingress.ask(&name, "POST /a?b=c", headers).await;
    let (head, said) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.contains("x-public: 1"),
        "{head}"
    );
    assert!(!head.contains("x-private"), "{head}");
    let mut lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.remove(0), format!("POST /a?b=c HTTP/1.1 {name}"));
    assert_eq!(lines.pop(), Some("body"));
    lines.sort_unstable();
    let expected = [
        "".to_owned(),
        "content-length: 4".into(),
        format!("host: {name}"),
        "te: trailers".into(),
        "x-forwarded-for: 192.0.2.1, 127.0.0.1".into(),
        format!("x-forwarded-host: {name}"),
        "x-forwarded-proto: http".into(),
        "x-mine: 1".into(),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn https_and_http2_reach_the_same_server() {
    let ingress = Ingress::start(true).await;
    let (_, name) = ingress.exposed("").await;
    let stream = ingress.secured(&name, b"h2").await;
    let (mut h2, connection) = within(http2::handshake(TokioExecutor::new(), TokioIo::new(stream)))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::get(format!("https://{name}/h2"));
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let answer = within(h2.send_request(request)).await.unwrap();
    let said = answer.into_body().collect().await.unwrap().to_bytes();
    let said = String::from_utf8(said.to_vec()).unwrap();
    assert!(
        said.starts_with(&format!("GET /h2 HTTP/1.1 {name}\n")),
        "{said}"
    );
    assert!(said.contains("x-forwarded-proto: https\n"), "{said}");
    assert!(said.contains(&format!("host: {name}\n")), "{said}");

    let mut stream = ingress.secured(&name, b"http/1.1").await;
    let request = format!("GET /1 HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.contains("GET /1 HTTP/1.1"), "{answer}");
}

#[tokio::test]
async fn an_upgraded_connection_carries_whatever_it_likes() {
    let ingress = Ingress::start(false).await;
    let (id, name) = ingress.exposed("").await;
    let stream = TcpStream::connect(ingress.address).await.unwrap();
    let (mut client, connection) = within(http1::handshake(TokioIo::new(stream)))
        .await
        .unwrap();
    tokio::spawn(connection.with_upgrades());
    let request = hyper::Request::get("/upgrade")
        .header("host", &name)
        .header("connection", "upgrade")
        .header("upgrade", "echo")
        .body(Full::<Bytes>::default())
        .unwrap();
    let answer = within(client.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.headers()["upgrade"], "echo");
    let mut stream = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    for word in [&b"one"[..], b"another"] {
        stream.write_all(word).await.unwrap();
        let mut heard = vec![0; word.len()];
        within(stream.read_exact(&mut heard)).await.unwrap();
        assert_eq!(heard, word);
    }
    // It ends with its sandbox.
    ingress.host.kill(&id).await;
    let mut rest = Vec::new();
    let _ = within(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
}

#[tokio::test]
async fn pieces_come_as_they_are_sent() {
    let ingress = Ingress::start(false).await;
    let (_, name) = ingress.exposed("").await;
    let mut stream = TcpStream::connect(ingress.address).await.unwrap();
    let request = format!("GET /pieces HTTP/1.1\r\nhost: {name}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut heard = String::new();
    while !heard.contains("first\n") {
        let mut buffer = [0; 1024];
        let length = within(stream.read(&mut buffer)).await.unwrap();
        assert!(length > 0, "{heard}");
        heard += std::str::from_utf8(&buffer[..length]).unwrap();
    }
}

#[tokio::test]
async fn who_cannot_be_reached_says_so() {
    let ingress = Ingress::start(false).await;
    for (trouble, status, words) in [
        ("nobody-listens", 502, "nobody listens"),
        ("nothing-exposed", 404, "no sandbox is exposed"),
    ] {
        let (_, name) = ingress.exposed(trouble).await;
        let answer = ingress.ask(&name, "GET /", "").await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains(words), "{answer}");
    }
    let (id, name) = ingress.exposed("").await;
    let (_, other) = ingress.exposed("").await;
    let digits = |name: &str| name.split('-').next().unwrap().to_owned();
    let forged = name.replace(&digits(&name), &digits(&other));
    let upper = name.to_uppercase();
    assert!(
        ingress
            .ask(&upper, "GET /", "")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    for host in [
        "",
        "boxes.example",
        "x.boxes.example",
        "elsewhere.example",
        &forged,
    ] {
        let answer = ingress.ask(host, "GET /", "").await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{host}: {answer}");
    }
    ingress.host.kill(&id).await;
    let answer = ingress.ask(&name, "GET /", "").await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let gone = ingress.expose(&id).await.unwrap_err();
    assert_eq!(gone["code"], "SANDBOX_NOT_RUNNING", "{gone}");
    let none = ingress.expose("sbx_none").await.unwrap_err();
    assert_eq!(none["code"], "SANDBOX_NOT_FOUND", "{none}");
}

#[tokio::test]
async fn a_paused_sandbox_stands_still() {
    let ingress = Ingress::start(false).await;
    let (id, name) = ingress.exposed("").await;
    let pause = protocol::hostd::v1::PauseSandboxRequest { sandbox_id: id };
    ingress.host.sandboxes().pause(pause).await.unwrap();
    let answer = ingress.ask(&name, "GET /", "").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[tokio::test]
async fn without_an_ingress_nothing_is_exposed() {
    let files = tempfile::tempdir().unwrap();
    let token = files.path().join("token");
    fs::write(&token, TOKEN).unwrap();
    let options = [
        "--gateway",
        "127.0.0.1:0",
        "--token-file",
        token.to_str().unwrap(),
    ];
    let host = Host::start_with(&options).await;
    let id = host.create(boot_request("")).await.unwrap().id;
    let path = format!("/api/v3/sandbox/{id}/expose/http");
    let told = within(post(host.gateway.unwrap(), &path)).await;
    assert_eq!(told["code"], "NOT_SUPPORTED", "{told}");
    assert!(
        told["message"].as_str().unwrap().contains("--ingress"),
        "{told}"
    );
}
