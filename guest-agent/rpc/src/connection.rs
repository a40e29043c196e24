//! One client: its frames, and its requests under way.
//!
//! A frame is a message's length in bytes (big-endian, 32 bits) and the message (JSON, UTF-8). Notifications act in the order in
//! which they come, requests begin in it and are answered when they are done.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::methods;
use crate::state::{Shared, State};
use crate::wire::{Answer, Error, Failure, Incoming, answer};

/// The longest message in bytes: the gateway ends a client that sends a longer one.
pub const MAX_MESSAGE: usize = 64 << 20;
/// Requests of a client under way at once; the next one is read when one of them is done.
const MAX_REQUESTS: usize = 512;
/// Messages that wait for a client to read them.
const QUEUE: usize = 16;

/// Where messages to the client go. A clone is another handle of the same.
#[derive(Clone)]
pub struct Outbox(mpsc::Sender<Bytes>);

impl Outbox {
    /// Sends a message. Waits while the client does not read; when it has gone, nothing is sent.
    pub async fn send(&self, message: &Value) {
        let _ = self.0.send(message.to_string().into()).await;
    }

    /// Answers a request: with an error, if the answer is longer than a message may be. Text can become six times as long when it is
    /// written as JSON.
    async fn answer(&self, id: &Value, done: Answer) {
        let mut text = answer(id, done).to_string();
        if text.len() > MAX_MESSAGE {
            let error = Error::new("RangeError", "the answer is too long for one message");
            text = answer(id, Err(error.into())).to_string();
        }
        let _ = self.0.send(text.into()).await;
    }
}

/// Serves a client until it has gone.
///
/// # Errors
/// The streams broke.
pub async fn serve(
    shared: Arc<Shared>,
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin + Send + 'static,
) -> io::Result<()> {
    let mut frames = FramedRead::new(reader, codec());
    let (sender, mut messages) = mpsc::channel(QUEUE);
    let outbox = Outbox(sender);
    let writing = tokio::spawn(async move {
        let mut frames = FramedWrite::new(writer, codec());
        while let Some(message) = messages.recv().await {
            frames.send(message).await?;
        }
        Ok::<_, io::Error>(())
    });
    let state = Arc::new(State::new(shared, outbox.clone()));
    let places = Arc::new(Semaphore::new(MAX_REQUESTS));
    let mut requests = JoinSet::new();
    while let Some(frame) = frames.next().await {
        let frame = frame?;
        while requests.try_join_next().is_some() {}
        let Ok(message) = serde_json::from_slice::<Incoming<'_>>(&frame) else {
            // Nobody can be told whose it was.
            continue;
        };
        let params = message.params.map_or("{}", |params| params.get());
        let Some(id) = message.id.filter(|id| !id.is_null()) else {
            notified(&state, &message.method, params).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            break;
        };
        let (state, outbox) = (Arc::clone(&state), outbox.clone());
        let (method, params) = (message.method, params.to_owned());
        // What it begins, it begins in order: requests refer to what earlier ones made.
        requests.spawn(async move {
            let done = methods::call(&state, &method, &params).await;
            outbox.answer(&id, done).await;
            drop(place);
        });
    }
    // Its programs go on; what it asked for and waits for, nobody wants any more.
    requests.shutdown().await;
    writing.abort();
    Ok(())
}

async fn notified(state: &State, method: &str, params: &str) {
    let known = state.outgoing.take(method, params) || state.incoming.take(method, params).await;
    if !known {
        eprintln!("a notification that nobody knows: {method}");
    }
}

/// Parameters of a procedure.
pub(crate) fn read<'a, T: serde::Deserialize<'a>>(params: &'a str) -> Result<T, Failure> {
    serde_json::from_str(params).map_err(Failure::Params)
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .max_frame_length(MAX_MESSAGE)
        .new_codec()
}
