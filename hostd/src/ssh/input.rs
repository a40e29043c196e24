//! [`Input`]: what a client says to its program.
//!
//! russh reads nothing more of a connection while one of its channels takes nothing, and then does not hear either that there is
//! room for output again. So what a program does not read is taken all the same, up to a limit. Beyond it a program that waits for its
//! output to be read before it reads its input would wait for ever: that is noticed, and ended.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::MAX_CHUNK_BYTES;
use protocol::types::v1::process_input::Input as Message;
use protocol::types::v1::{CloseStdin, ProcessInput};
use russh::{ChannelMsg, ChannelReadHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::sleep;

use super::channel::{message, size};
use super::signals;

/// What is taken ahead of the program, in bytes.
const UNREAD: usize = 4 << 20;
/// What a message takes at least.
const LEAST: usize = 64;
/// So long nothing was taken of the client, nor of the program.
const STANDSTILL: Duration = Duration::from_secs(30);

/// From a client to its program.
pub(super) struct Input {
    reader: ChannelReadHalf,
    inputs: mpsc::Sender<ProcessInput>,
    places: Arc<Semaphore>,
    /// Whether it waits for the program to read.
    waits: watch::Sender<bool>,
}

impl Input {
    pub(super) fn new(reader: ChannelReadHalf, inputs: mpsc::Sender<ProcessInput>) -> Self {
        Self {
            reader,
            inputs,
            places: Arc::new(Semaphore::new(UNREAD)),
            waits: watch::Sender::new(false),
        }
    }

    /// Done when this has waited for the program for too long, and the program's output for the client.
    pub(super) fn standstill(
        &self,
        mut output_waits: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + use<> {
        let mut waits = self.waits.subscribe();
        async move {
            loop {
                let both = async {
                    waits.wait_for(|waits| *waits).await?;
                    output_waits.wait_for(|waits| *waits).await
                };
                if both.await.is_err() {
                    return std::future::pending().await;
                }
                tokio::select! {
                    () = sleep(STANDSTILL) => return,
                    _ = waits.wait_for(|waits| !*waits) => {}
                    _ = output_waits.wait_for(|waits| !*waits) => {}
                }
            }
        }
    }

    /// Passes everything on, until the client closes the channel.
    pub(super) async fn pass(mut self) {
        let (queue, mut queued) = mpsc::unbounded_channel::<(Message, OwnedSemaphorePermit)>();
        let inputs = self.inputs.clone();
        let feeding = async {
            while let Some((input, _place)) = queued.recv().await {
                // A program that has ended takes no more; its output may still come.
                let _ = inputs.send(message(input)).await;
            }
        };
        let taking = async {
            while let Some(input) = self.next().await {
                let length = match &input {
                    Message::Stdin(bytes) => bytes.len(),
                    _ => 0,
                };
                let Some(place) = self.place(length.max(LEAST)).await else {
                    return;
                };
                let _ = queue.send((input, place));
            }
        };
        tokio::select! {
            () = taking => {}
            () = feeding => {}
        }
    }

    async fn place(&self, length: usize) -> Option<OwnedSemaphorePermit> {
        let length = u32::try_from(length.min(UNREAD)).ok()?;
        if let Ok(place) = Arc::clone(&self.places).try_acquire_many_owned(length) {
            return Some(place);
        }
        self.waits.send_replace(true);
        let place = Arc::clone(&self.places).acquire_many_owned(length).await;
        self.waits.send_replace(false);
        place.ok()
    }

    /// The next of the client's messages that the program hears of; nothing, when it closes the channel.
    async fn next(&mut self) -> Option<Message> {
        loop {
            return Some(match self.reader.wait().await? {
                // A packet of SSH is shorter than the longest chunk, as the configuration says.
                ChannelMsg::Data { data } => Message::Stdin(cut(data)),
                ChannelMsg::Eof => Message::CloseStdin(CloseStdin {}),
                ChannelMsg::WindowChange {
                    col_width,
                    row_height,
                    ..
                } => Message::Resize(size(col_width, row_height)),
                ChannelMsg::Signal { signal } => match signals::number(&signal) {
                    Some(number) => Message::Signal(number),
                    None => continue,
                },
                ChannelMsg::Close => return None,
                _ => continue,
            });
        }
    }
}

fn cut(mut data: Bytes) -> Bytes {
    data.truncate(MAX_CHUNK_BYTES);
    data
}
