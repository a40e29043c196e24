use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::client::Client;

/// A server that answers each connection's one request by its path.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    address
}

async fn answer(stream: TcpStream) {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let path = lines[0].split(' ').nth(1).unwrap().to_owned();
    let close = "connection: close\r\n";
    let text = match path.as_str() {
        "/moved" => {
            format!("HTTP/1.1 302 Found\r\nlocation: /here\r\ncontent-length: 0\r\n{close}\r\n")
        }
        "/round" => {
            format!("HTTP/1.1 302 Found\r\nlocation: /round\r\ncontent-length: 0\r\n{close}\r\n")
        }
        "/nothing" => format!("HTTP/1.1 204 No Content\r\n{close}\r\n"),
        "/short" => format!("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n{close}\r\n12345"),
        "/latin" => {
            format!("HTTP/1.1 200 OK\r\nx-name: gr\u{fc}n\r\ncontent-length: 0\r\n{close}\r\n")
        }
        "/silent" => {
            tokio::time::sleep(std::time::Duration::from_secs(600)).await;
            return;
        }
        "/endless" => {
            let head = format!("HTTP/1.1 200 OK\r\n{close}\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
            return;
        }
        "/upload" => {
            // Chunks end with an empty one.
            let mut body = Vec::new();
            while !body.ends_with(b"0\r\n\r\n") {
                stream.read_buf(&mut body).await.unwrap();
            }
            let body = String::from_utf8_lossy(&body).replace("\r\n", ";");
            format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{close}\r\n{body}",
                body.len()
            )
        }
        _ => {
            let body = lines.join("\n");
            format!(
                "HTTP/1.1 200 OK\r\nx-two: a\r\nx-two: b\r\ncontent-length: {}\r\n{close}\r\n{body}",
                body.len()
            )
        }
    };
    // Latin-1, so that one header is no UTF-8.
    let bytes: Vec<u8> = text
        .chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect();
    stream.write_all(&bytes).await.unwrap();
}

fn get(server: SocketAddr, path: &str) -> Value {
    json!({"url": format!("http://{server}{path}"), "method": "GET", "headers": [], "redirect": "follow"})
}

#[tokio::test]
async fn a_request_is_answered() {
    let (server, mut client) = (server().await, Client::new());
    let mut asked = get(server, "/here?a=b");
    asked["headers"] = json!([["x-mine", "one"], ["x-mine", "two"]]);
    let answer = client.call("fetch", asked).await;
    assert_eq!(
        (&answer["status"], &answer["statusText"]),
        (&json!(200), &json!("OK"))
    );
    let headers = answer["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["x-two", "a"])) && headers.contains(&json!(["x-two", "b"])));
    let body = client.bytes(&answer["bodyStreamId"]).await;
    let body = String::from_utf8(body).unwrap();
    assert!(body.starts_with("GET /here?a=b HTTP/1.1\n"), "{body}");
    assert!(body.contains("x-mine: one\nx-mine: two"), "{body}");
    let answer = client.call("fetch", get(server, "/nothing")).await;
    assert_eq!(
        (&answer["status"], &answer["bodyStreamId"]),
        (&json!(204), &Value::Null)
    );
    let answer = client.call("fetch", get(server, "/latin")).await;
    assert!(
        answer["headers"]
            .as_array()
            .unwrap()
            .contains(&json!(["x-name", "gr\u{fc}n"]))
    );
}

#[tokio::test]
async fn redirects_are_followed_or_shown() {
    let (server, mut client) = (server().await, Client::new());
    let answer = client.call("fetch", get(server, "/moved")).await;
    assert_eq!(answer["status"], 200);
    let mut asked = get(server, "/moved");
    asked["redirect"] = json!("manual");
    let answer = client.call("fetch", asked).await;
    assert_eq!(answer["status"], 302);
    let error = client.fails("fetch", get(server, "/round")).await;
    assert_eq!(error["constructorName"], "TypeError");
}

#[tokio::test]
async fn a_body_goes_up_as_a_stream() {
    let (server, mut client) = (server().await, Client::new());
    client.stream(7, &[b"one", b"two"]).await;
    let mut asked = get(server, "/upload");
    asked["method"] = json!("POST");
    asked["bodyStreamId"] = json!(7);
    let answer = client.call("fetch", asked).await;
    let body = client.bytes(&answer["bodyStreamId"]).await;
    assert_eq!(String::from_utf8(body).unwrap(), "3;one;3;two;0;;");
}

#[tokio::test]
async fn what_fails_is_told() {
    let (server, mut client) = (server().await, Client::new());
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    for asked in [
        get(gone, "/"),
        json!({"url": "ftp://127.0.0.1/", "method": "GET", "headers": [], "redirect": "follow"}),
        json!({"url": "nonsense", "method": "GET", "headers": [], "redirect": "follow"}),
        json!({"url": "http://127.0.0.1/", "method": "A B", "headers": [], "redirect": "follow"}),
        json!({"url": "http://127.0.0.1/", "method": "GET", "headers": [["a b", "c"]], "redirect": "follow"}),
    ] {
        let error = client.fails("fetch", asked.clone()).await;
        assert_eq!(error["constructorName"], "TypeError", "{asked}");
    }
    // An answer that breaks off is an error of its stream.
    let answer = client.call("fetch", get(server, "/short")).await;
    let error = client.broken(&answer["bodyStreamId"]).await;
    assert_eq!(error["constructorName"], "TypeError");
}

#[tokio::test]
async fn what_is_aborted_ends() {
    let (server, mut client) = (server().await, Client::new());
    let mut asked = get(server, "/silent");
    asked["abortId"] = json!(1);
    let waiting = client.begin("fetch", asked).await;
    client.call("abort", json!({"abortId": 1})).await;
    assert_eq!(client.failure(waiting).await["name"], "AbortError");
    let mut asked = get(server, "/endless");
    asked["abortId"] = json!(2);
    let answer = client.call("fetch", asked).await;
    client.call("abort", json!({"abortId": 2})).await;
    let error = client.broken(&answer["bodyStreamId"]).await;
    assert_eq!(error["name"], "AbortError");
}

#[tokio::test]
async fn a_client_that_goes_takes_its_answers_with_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let answering = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer(stream).await;
    });
    let mut client = Client::new();
    client.call("fetch", get(server, "/endless")).await;
    drop(client);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), answering).await;
    ended.expect("it is still read").unwrap();
}
