//! Streams: bytes in pieces, as notifications, in both directions. Ids of the two directions have nothing to do with each other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rustix::rand::GetRandomFlags;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::connection::Outbox;
use crate::wire::Error;

/// Streams that a client may have begun and not ended.
const MOST: usize = 1024;
/// What all of a client's streams may have unread together, in bytes: then nothing more is read of the client.
const UNREAD: usize = 32 << 20;
/// Bytes of one piece on its way to a client: its text is far below what a WebSocket client takes by default (1 MiB).
pub const PIECE: usize = 64 << 10;

/// What a client sends of a stream.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Params {
    stream_id: u64,
    #[serde(default)]
    data: String,
    /// An object or a text.
    #[serde(default)]
    error: Value,
}

/// A piece of a stream, and its place among what is unread.
struct Piece {
    bytes: Bytes,
    _place: OwnedSemaphorePermit,
}

/// The streams that a client sends.
pub struct Incoming {
    open: Mutex<HashMap<u64, Slot>>,
    unread: Arc<Semaphore>,
}

/// A stream that has begun: who wants it may come before or after its bytes.
struct Slot {
    sender: Option<mpsc::UnboundedSender<Result<Piece, String>>>,
    receiver: Option<mpsc::UnboundedReceiver<Result<Piece, String>>>,
}

/// The reader's end of a stream.
pub struct Reader(mpsc::UnboundedReceiver<Result<Piece, String>>);

impl Default for Incoming {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            unread: Arc::new(Semaphore::new(UNREAD)),
        }
    }
}

impl Incoming {
    /// Takes a notification; false, if it is none of a stream. Waits while too much is unread.
    pub async fn take(&self, method: &str, params: &str) -> bool {
        let Some(what) = method.strip_prefix("$sandbox.stream.") else {
            return false;
        };
        let Ok(params) = serde_json::from_str::<Params>(params) else {
            return true;
        };
        let id = params.stream_id;
        match what {
            "start" => self.start(id),
            "enqueue" => self.enqueue(id, &params.data).await,
            "end" => self.end(id, None),
            "error" => self.end(id, Some(said(&params.error))),
            // Of one that goes the other way: see `Outgoing`.
            _ => return false,
        }
        true
    }

    fn start(&self, id: u64) {
        let mut open = self.open();
        if open.len() < MOST {
            let (sender, receiver) = mpsc::unbounded_channel();
            let slot = Slot {
                sender: Some(sender),
                receiver: Some(receiver),
            };
            open.insert(id, slot);
        }
    }

    async fn enqueue(&self, id: u64, data: &str) {
        let sender = self.open().get(&id).and_then(|slot| slot.sender.clone());
        let (Some(sender), Ok(bytes)) = (sender, STANDARD.decode(data)) else {
            return;
        };
        // A piece that is larger than all that may be unread takes all of it.
        let size = u32::try_from(bytes.len().clamp(1, UNREAD)).unwrap_or(1);
        let place = Arc::clone(&self.unread).acquire_many_owned(size).await;
        if let Ok(place) = place {
            let bytes = bytes.into();
            // Whoever does not read it any more needs none of it.
            let _ = sender.send(Ok(Piece {
                bytes,
                _place: place,
            }));
        }
    }

    fn end(&self, id: u64, error: Option<String>) {
        let mut open = self.open();
        let Some(slot) = open.get_mut(&id) else {
            return;
        };
        if let (Some(sender), Some(error)) = (slot.sender.take(), error) {
            let _ = sender.send(Err(error));
        }
        if slot.receiver.is_none() {
            open.remove(&id);
        }
    }

    /// The stream with this id, for the one who reads it.
    pub fn reader(&self, id: u64) -> Result<Reader, Error> {
        let mut open = self.open();
        let slot = open.get_mut(&id);
        let receiver = slot.and_then(|slot| Some((slot.receiver.take()?, slot.sender.is_none())));
        let (receiver, over) =
            receiver.ok_or_else(|| Error::type_error(format!("there is no stream {id}")))?;
        if over {
            open.remove(&id);
        }
        Ok(Reader(receiver))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Slot>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// The next bytes; nothing at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        let piece = self.0.recv().await?;
        Some(
            piece
                .map(|piece| piece.bytes)
                .map_err(|said| Error::new("Error", said)),
        )
    }
}

/// What a client says went wrong with a stream of its own.
fn said(error: &Value) -> String {
    let message = error.get("message").unwrap_or(error);
    let message = message.as_str().unwrap_or("the stream broke off");
    message.to_owned()
}

/// The streams that go to a client.
pub struct Outgoing {
    next: AtomicU64,
    cancelled: Mutex<HashMap<u64, CancellationToken>>,
}

impl Default for Outgoing {
    /// The JavaScript SDK has one table for the streams of all sandboxes: each counts from somewhere else.
    fn default() -> Self {
        let mut random = [0; 6];
        // Without any the ids are those that one sandbox alone would have. Never more than 53 bits: JavaScript's numbers have no more.
        let _ = rustix::rand::getrandom(&mut random, GetRandomFlags::empty());
        let [a, b, c, d, e, f] = random;
        Self {
            next: AtomicU64::new(u64::from_be_bytes([0, 0, a, b, c, d, e, f])),
            cancelled: Mutex::default(),
        }
    }
}

impl Drop for Outgoing {
    /// The client has gone: nobody wants more of any.
    fn drop(&mut self) {
        let all = self.cancelled.get_mut();
        let all = all.unwrap_or_else(PoisonError::into_inner);
        all.values().for_each(CancellationToken::cancel);
    }
}

/// The writer's end of a stream to a client. Dropped without [`Writer::end`] it ends, too.
pub struct Writer {
    id: u64,
    outbox: Outbox,
    /// When the client wants no more of it.
    pub cancelled: CancellationToken,
}

impl Outgoing {
    /// Begins one.
    pub fn begin(&self, outbox: &Outbox) -> Writer {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let cancelled = CancellationToken::new();
        let mut all = self
            .cancelled
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Those that ended have no writer any more.
        all.retain(|_, token| !token.is_cancelled());
        all.insert(id, cancelled.clone());
        Writer {
            id,
            outbox: outbox.clone(),
            cancelled,
        }
    }

    /// Takes a notification; false, if it is none of a stream of ours.
    pub fn take(&self, method: &str, params: &str) -> bool {
        if method != "$sandbox.stream.cancel" {
            return false;
        }
        if let Ok(params) = serde_json::from_str::<Params>(params) {
            let all = self
                .cancelled
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if let Some(token) = all.get(&params.stream_id) {
                token.cancel();
            }
        }
        true
    }
}

impl Writer {
    /// What the client knows it by.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Says that it begins: the SDKs make room for it then.
    pub async fn start(&self) {
        self.notify("start", json!({"streamId": self.id})).await;
    }

    /// Sends bytes. Waits while the client does not read.
    pub async fn send(&self, bytes: &[u8]) {
        for piece in bytes.chunks(PIECE) {
            let data = STANDARD.encode(piece);
            self.notify("enqueue", json!({"streamId": self.id, "data": data}))
                .await;
        }
    }

    /// Sends a whole message as one piece, whatever its size.
    pub async fn send_whole(&self, bytes: &[u8]) {
        let data = STANDARD.encode(bytes);
        self.notify("enqueue", json!({"streamId": self.id, "data": data}))
            .await;
    }

    /// Says that this was all.
    pub async fn end(self) {
        self.notify("end", json!({"streamId": self.id})).await;
    }

    /// Says that there is no more, and why.
    pub async fn fail(self, error: &Error) {
        self.notify("error", json!({"streamId": self.id, "error": error}))
            .await;
    }

    async fn notify(&self, what: &str, params: Value) {
        let method = format!("$sandbox.stream.{what}");
        self.outbox
            .send(&crate::wire::notification(&method, &params))
            .await;
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.cancelled.cancel();
    }
}
