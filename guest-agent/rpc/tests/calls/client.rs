//! A client, as the SDKs are one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use sandbox_rpc::Shared;
use sandbox_rpc::connection::{MAX_MESSAGE, serve};
use serde_json::{Value, json};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Client {
    reader: FramedRead<ReadHalf<DuplexStream>, LengthDelimitedCodec>,
    writer: FramedWrite<WriteHalf<DuplexStream>, LengthDelimitedCodec>,
    next: u64,
    /// Answers that came while another one was awaited.
    answers: HashMap<u64, Value>,
    /// Bytes of streams, and how those ended that did.
    streams: HashMap<u64, Vec<Vec<u8>>>,
    ended: HashMap<u64, Value>,
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .max_frame_length(MAX_MESSAGE)
        .new_codec()
}

impl Client {
    pub fn new() -> Self {
        Self::of(Arc::default())
    }

    /// One more client of a sandbox.
    pub fn of(shared: Arc<Shared>) -> Self {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let (reader, writer) = tokio::io::split(theirs);
        tokio::spawn(serve(shared, reader, writer));
        let (reader, writer) = tokio::io::split(ours);
        Self {
            reader: FramedRead::new(reader, codec()),
            writer: FramedWrite::new(writer, codec()),
            next: 0,
            answers: HashMap::new(),
            streams: HashMap::new(),
            ended: HashMap::new(),
        }
    }

    pub async fn send_text(&mut self, text: &str) {
        self.writer
            .send(Bytes::copy_from_slice(text.as_bytes()))
            .await
            .unwrap();
    }

    pub async fn notify(&mut self, method: &str, params: Value) {
        let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        self.send_text(&message.to_string()).await;
    }

    /// Begins a request; its id.
    pub async fn begin(&mut self, method: &str, params: Value) -> u64 {
        self.next += 1;
        let message =
            json!({"jsonrpc": "2.0", "id": self.next, "method": method, "params": params});
        self.send_text(&message.to_string()).await;
        self.next
    }

    /// The answer to a request that was begun.
    pub async fn answer(&mut self, id: u64) -> Value {
        while !self.answers.contains_key(&id) {
            self.next_message().await;
        }
        self.answers.remove(&id).unwrap()
    }

    /// What a procedure gives.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params).await;
        let answer = self.answer(id).await;
        let ok = answer["result"].get("ok");
        ok.unwrap_or_else(|| panic!("{method}: {answer}")).clone()
    }

    /// The error that it gives.
    pub async fn fails(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params).await;
        self.failure(id).await
    }

    /// The error of a request that was begun.
    pub async fn failure(&mut self, id: u64) -> Value {
        let answer = self.answer(id).await;
        let error = answer["result"].get("error");
        error.unwrap_or_else(|| panic!("{answer}")).clone()
    }

    /// Sends a stream of these pieces.
    pub async fn stream(&mut self, id: u64, pieces: &[&[u8]]) {
        self.notify("$sandbox.stream.start", json!({"streamId": id}))
            .await;
        for piece in pieces {
            let data = STANDARD.encode(piece);
            self.notify(
                "$sandbox.stream.enqueue",
                json!({"streamId": id, "data": data}),
            )
            .await;
        }
        self.notify("$sandbox.stream.end", json!({"streamId": id}))
            .await;
    }

    /// The pieces of a stream, when it has ended.
    pub async fn pieces(&mut self, id: &Value) -> Vec<Vec<u8>> {
        let error = self.end(id).await;
        assert!(error.is_null(), "{error}");
        self.streams
            .remove(&id.as_u64().unwrap())
            .unwrap_or_default()
    }

    /// The error that a stream ends with.
    pub async fn broken(&mut self, id: &Value) -> Value {
        let error = self.end(id).await;
        assert!(!error.is_null(), "it ends well");
        error
    }

    async fn end(&mut self, id: &Value) -> Value {
        let id = id.as_u64().unwrap();
        while !self.ended.contains_key(&id) {
            self.next_message().await;
        }
        self.ended.remove(&id).unwrap()
    }

    /// All bytes of a stream.
    pub async fn bytes(&mut self, id: &Value) -> Vec<u8> {
        self.pieces(id).await.concat()
    }

    async fn next_message(&mut self) {
        let frame = tokio::time::timeout(PATIENCE, self.reader.next()).await;
        let frame = frame.expect("nothing comes").expect("it ended").unwrap();
        let message: Value = serde_json::from_slice(&frame).unwrap();
        assert_eq!(message["jsonrpc"], "2.0");
        if let Some(id) = message.get("id") {
            self.answers.insert(id.as_u64().unwrap(), message);
            return;
        }
        let params = &message["params"];
        let id = params["streamId"].as_u64().unwrap();
        match message["method"].as_str().unwrap() {
            "$sandbox.stream.start" => drop(self.streams.insert(id, Vec::new())),
            "$sandbox.stream.enqueue" => {
                let piece = STANDARD.decode(params["data"].as_str().unwrap()).unwrap();
                self.streams.get_mut(&id).unwrap().push(piece);
            }
            "$sandbox.stream.end" => drop(self.ended.insert(id, Value::Null)),
            "$sandbox.stream.error" => drop(self.ended.insert(id, params["error"].clone())),
            other => panic!("{other}"),
        }
    }
}
