//! What the Deno Sandbox SDKs call, where no guest is needed.

use std::fs;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::hostd::v1::CreateSnapshotRequest;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::host::{Host, PATIENCE};

pub const TOKEN: &str = "ddo_a-token-for-the-tests";

/// What a gateway answers to an authorised POST.
pub async fn post(address: SocketAddr, path: &str) -> Value {
    let headers = format!("authorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n");
    let (_, answer) = ask(address, &format!("POST {path}"), &headers, "{}").await;
    answer
}

struct Gateway {
    host: Host,
    address: SocketAddr,
    _files: TempDir,
}

impl Gateway {
    async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let token = files.path().join("token");
        fs::write(&token, TOKEN).unwrap();
        let token = token.to_str().unwrap();
        let options = ["--gateway", "127.0.0.1:0", "--token-file", token];
        let host = Host::start_with(&options).await;
        let address = host.gateway.unwrap();
        Self {
            host,
            address,
            _files: files,
        }
    }

    async fn ask(&self, request: &str, headers: &str, body: &str) -> (String, Value) {
        ask(self.address, request, headers, body).await
    }

    async fn authorised(&self, request: &str, body: &str) -> (String, Value) {
        let headers =
            format!("authorization: Bearer {TOKEN}\r\ncontent-type: application/json\r\n");
        self.ask(request, &headers, body).await
    }

    /// The answer to a WebSocket's handshake.
    async fn upgrade(&self, path: &str, config: &str) -> (String, Value) {
        let headers = format!(
            "authorization: Bearer {TOKEN}\r\nx-deno-sandbox-config: {}\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            STANDARD.encode(config)
        );
        self.ask(&format!("GET {path}"), &headers, "").await
    }
}

/// A request on a connection of its own: the answer's head, and its body.
pub async fn ask(address: SocketAddr, request: &str, headers: &str, body: &str) -> (String, Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nhost: thaw\r\nconnection: close, upgrade\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (
        head.to_owned(),
        serde_json::from_str(body).unwrap_or(Value::Null),
    )
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn without_the_token_nothing_is_there() {
    let gateway = Gateway::start().await;
    for (request, headers) in [
        ("GET /api/v2/sandboxes", ""),
        ("GET /nowhere", ""),
        (
            "GET /api/v3/sandboxes/create",
            "authorization: Bearer ddo_another-token-entirely\r\n",
        ),
        (
            "DELETE /api/v3/sandbox/x",
            "authorization: Basic ddo_a-token-for-the-tests\r\n",
        ),
    ] {
        let (head, body) = gateway.ask(request, headers, "").await;
        assert_eq!(
            (status(&head), &body["code"]),
            (401, &"INVALID_TOKEN".into()),
            "{request}"
        );
        assert!(!body["message"].as_str().unwrap().contains("ddo_"));
    }
}

#[tokio::test]
async fn sandboxes_are_listed_in_pages_and_ended() {
    let gateway = Gateway::start().await;
    let mut made = Vec::new();
    for number in 0..3 {
        let mut request = crate::host::boot_request("");
        request.labels.insert("number".into(), number.to_string());
        made.push(gateway.host.create(request).await.unwrap().id);
    }
    let (head, all) = gateway.authorised("GET /api/v2/sandboxes", "").await;
    assert_eq!((status(&head), all.as_array().unwrap().len()), (200, 3));
    assert_eq!(
        (&all[0]["id"], &all[0]["status"]),
        (&made[2].clone().into(), &"running".into())
    );
    assert!(all[0]["createdAt"].as_str().unwrap().ends_with('Z') && all[0]["stoppedAt"].is_null());
    // JavaScript's labels, and Python's.
    for query in [
        "labels%5Bnumber%5D=1",
        "labels=%7B%27number%27%3A+%271%27%7D",
    ] {
        let (_, some) = gateway
            .authorised(&format!("GET /api/v3/sandboxes?{query}"), "")
            .await;
        assert_eq!(
            (some.as_array().unwrap().len(), &some[0]["id"]),
            (1, &made[1].clone().into())
        );
    }
    let (head, first) = gateway
        .authorised("GET /api/v3/sandboxes?limit=2", "")
        .await;
    assert_eq!(first.as_array().unwrap().len(), 2);
    let link = head
        .lines()
        .find(|line| line.starts_with("link: "))
        .unwrap();
    assert!(
        link.ends_with("; rel=\"next\"") && link.contains("limit=2"),
        "{link}"
    );
    let cursor = link
        .split("cursor=")
        .nth(1)
        .unwrap()
        .split('>')
        .next()
        .unwrap();
    let next = format!("GET /api/v3/sandboxes?limit=2&cursor={cursor}");
    let (head, rest) = gateway.authorised(&next, "").await;
    assert_eq!(
        (rest.as_array().unwrap().len(), &rest[0]["id"]),
        (1, &made[0].clone().into())
    );
    assert!(!head.contains("link: "));
    for (path, id) in [("sandbox", &made[0]), ("sandboxes", &made[1])] {
        let (head, ended) = gateway
            .authorised(&format!("DELETE /api/v3/{path}/{id}"), "")
            .await;
        assert_eq!((status(&head), &ended["status"]), (200, &"stopped".into()));
    }
    let at = (std::time::SystemTime::now() + std::time::Duration::from_secs(600))
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let body = format!(r#"{{"stop_at_ms": {at}}}"#);
    let (head, moved) = gateway
        .authorised(&format!("PATCH /api/v3/sandbox/{}", made[2]), &body)
        .await;
    assert_eq!(status(&head), 200);
    let moved = moved["stop_at_ms"].as_u64().unwrap();
    assert!(
        moved.abs_diff(u64::try_from(at).unwrap()) < 1000,
        "{moved} {at}"
    );
}

#[tokio::test]
async fn snapshots_are_listed_in_pages_found_and_deleted() {
    let gateway = Gateway::start().await;
    let id = gateway.host.boot("").await.unwrap().id;
    let mut made = Vec::new();
    for name in ["one", "two", "other"] {
        let request = CreateSnapshotRequest {
            sandbox_id: id.clone(),
            name: name.into(),
            ..Default::default()
        };
        let taken = gateway.host.snapshots().create(request).await.unwrap();
        made.push(taken.into_inner().id);
    }
    let (head, first) = gateway
        .authorised("GET /api/v2/snapshots?limit=2", "")
        .await;
    let slugs = |page: &Value| -> Vec<String> {
        let all = page.as_array().unwrap().iter();
        all.map(|one| one["slug"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        (status(&head), slugs(&first)),
        (200, vec!["other".into(), "two".into()])
    );
    let cursor = made.get(1).unwrap();
    assert!(
        head.contains(&format!("limit=2&cursor={cursor}>; rel=\"next\"")),
        "{head}"
    );
    let next = format!("GET /api/v2/snapshots?limit=2&cursor={cursor}");
    let (head, rest) = gateway.authorised(&next, "").await;
    assert_eq!(
        (head.contains("link: "), slugs(&rest)),
        (false, vec!["one".into()])
    );
    let (_, found) = gateway
        .authorised("GET /api/v2/snapshots?search=tw", "")
        .await;
    assert_eq!(slugs(&found), ["two"]);

    for reference in ["one", made[0].as_str()] {
        let (_, one) = gateway
            .authorised(&format!("GET /api/v2/snapshots/{reference}"), "")
            .await;
        assert_eq!(
            (&one["id"], &one["slug"]),
            (&made[0].clone().into(), &"one".into())
        );
        assert_eq!(
            (&one["is_bootable"], &one["region"]),
            (&true.into(), &"loc".into())
        );
        assert!(one["allocated_size"].as_u64().unwrap() > 0);
        assert_eq!(one["volume"]["id"], id.as_str());
    }
    let delete = "DELETE /api/v2/snapshots/one";
    assert_eq!(status(&gateway.authorised(delete, "").await.0), 204);
    for request in [delete, "GET /api/v2/snapshots/one"] {
        let (head, error) = gateway.authorised(request, "").await;
        assert_eq!(
            (status(&head), &error["code"]),
            (404, &"SNAPSHOT_NOT_FOUND".into())
        );
    }
}

#[tokio::test]
async fn what_is_not_there_or_makes_no_sense_is_told() {
    let gateway = Gateway::start().await;
    for (request, body, code, reason) in [
        ("GET /api/v2/apps", "", 501, "NOT_SUPPORTED"),
        ("POST /api/v2/volumes", "{}", 501, "NOT_SUPPORTED"),
        (
            "POST /api/v3/sandbox/x/expose/http",
            "{}",
            501,
            "NOT_SUPPORTED",
        ),
        ("DELETE /api/v3/sandbox/none", "", 404, "SANDBOX_NOT_FOUND"),
        (
            "PATCH /api/v3/sandbox/none",
            r#"{"stop_at_ms": 1}"#,
            400,
            "INVALID_ARGUMENT",
        ),
        ("GET /api/v2/sandboxes?limit=x", "", 400, "INVALID_ARGUMENT"),
        (
            "GET /api/v2/sandboxes?cursor=x",
            "",
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "GET /api/v2/sandboxes?labels=x",
            "",
            400,
            "INVALID_ARGUMENT",
        ),
    ] {
        let (head, answer) = gateway.authorised(request, body).await;
        assert_eq!(
            (status(&head), &answer["code"]),
            (code, &reason.into()),
            "{request}: {answer}"
        );
    }
    let create = "/api/v3/sandboxes/create";
    for (path, config, code, reason) in [
        (create, "{}", 404, "SNAPSHOT_NOT_FOUND"),
        (
            create,
            r#"{"root": {"volume": "none"}}"#,
            404,
            "SNAPSHOT_NOT_FOUND",
        ),
        (create, r#"{"timeout": "soon"}"#, 400, "INVALID_ARGUMENT"),
        (create, "{", 400, "INVALID_ARGUMENT"),
        (
            create,
            r#"{"volumes": {"/data": "vol"}}"#,
            501,
            "NOT_SUPPORTED",
        ),
        (
            "/api/v3/sandbox/none/connect",
            "{}",
            404,
            "SANDBOX_NOT_FOUND",
        ),
    ] {
        let (head, answer) = gateway.upgrade(path, config).await;
        assert_eq!(
            (status(&head), &answer["code"]),
            (code, &reason.into()),
            "{config}: {answer}"
        );
    }
}
