//! Requests and answers over the socketpair. A task reads; answers find their request by its id, events go into
//! a short queue.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prost::Message;
use protocol::vmm::v1::{Reply, Request, event, reply, request};
use tokio::sync::{mpsc, oneshot, watch};

use super::packet::{MAX_PACKET_BYTES, PacketSocket};
use super::{Refusal, VmmError};

/// Events that matter are final, so the first is enough; a vmm that sends more loses them.
const EVENT_QUEUE: usize = 4;

/// What a vmm says by itself.
#[derive(Debug)]
pub struct Event {
    /// Which event.
    pub kind: event::Kind,
    /// The vmm's words.
    pub message: String,
}

/// The asking end.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    closed: watch::Receiver<bool>,
}

#[derive(Debug)]
struct Shared {
    socket: PacketSocket,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    closed: bool,
    waiting: HashMap<u64, oneshot::Sender<reply::Reply>>,
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while it is held; if something did, the map is still a map.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Takes the socket over and starts to read it.
    pub fn start(socket: PacketSocket) -> (Self, mpsc::Receiver<Event>) {
        let shared = Arc::new(Shared {
            socket,
            state: Mutex::default(),
        });
        let (events, queue) = mpsc::channel(EVENT_QUEUE);
        let (ended, closed) = watch::channel(false);
        let reader = shared.clone();
        tokio::spawn(async move {
            if let Err(error) = read(&reader, &events).await {
                tracing::warn!(error = %crate::error::chain(&error), "a vmm's socket");
            }
            let mut state = reader.state();
            state.closed = true;
            // Whoever still waits learns that no answer comes.
            state.waiting.clear();
            drop(state);
            ended.send_replace(true);
        });
        (Self { shared, closed }, queue)
    }

    /// Sends a request and waits for its answer. [`reply::Reply::Failure`] comes as an error.
    pub async fn call(
        &self,
        name: &'static str,
        request: request::Request,
        fds: &[BorrowedFd<'_>],
        limit: Duration,
    ) -> Result<reply::Reply, VmmError> {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut state = self.shared.state();
            if state.closed {
                return Err(VmmError::Gone);
            }
            state.last_id += 1;
            let id = state.last_id;
            state.waiting.insert(id, answer);
            id
        };
        let _forget = Forget {
            shared: &self.shared,
            id,
        };
        let packet = Request {
            id,
            request: Some(request),
        }
        .encode_to_vec();
        if packet.len() > MAX_PACKET_BYTES {
            return Err(VmmError::TooLong(packet.len()));
        }
        let exchange = async {
            self.shared
                .socket
                .send(&packet, fds)
                .await
                .map_err(|error| match error.kind() {
                    std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset => {
                        VmmError::Gone
                    }
                    _ => VmmError::Socket(error),
                })?;
            answered.await.map_err(|_| VmmError::Gone)
        };
        match tokio::time::timeout(limit, exchange).await {
            Ok(Ok(reply::Reply::Failure(failure))) => Err(refused(failure)),
            Ok(result) => result,
            Err(_) => Err(VmmError::Timeout { call: name, limit }),
        }
    }

    /// Whether no answer can come any more.
    pub fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Waits until the vmm's end is closed and everything it sent has been read.
    pub async fn closed(&self) {
        // An error means that the reader is gone, which is the same.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }
}

/// Takes a request off the list, whether answered, timed out or given up.
struct Forget<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.state().waiting.remove(&self.id);
    }
}

async fn read(shared: &Shared, events: &mpsc::Sender<Event>) -> Result<(), VmmError> {
    let mut buffer = vec![0; MAX_PACKET_BYTES];
    loop {
        let length = match shared.socket.receive(&mut buffer).await {
            Ok(0) => return Ok(()),
            // Unread requests in a dying vmm's queue make the kernel say this instead.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            received => received.map_err(VmmError::Socket)?,
        };
        let packet = buffer.get(..length).unwrap_or_default();
        let message =
            Reply::decode(packet).map_err(|_| VmmError::Protocol("a packet is no message"))?;
        match message.reply {
            Some(reply::Reply::Event(event)) => {
                let event = Event {
                    kind: event.kind(),
                    message: event.message,
                };
                if events.try_send(event).is_err() {
                    tracing::warn!("a vmm sends more events than can matter");
                }
            }
            Some(answer) => {
                if let Some(waiting) = shared.state().waiting.remove(&message.id) {
                    let _ = waiting.send(answer);
                }
            }
            None => return Err(VmmError::Protocol("an empty reply")),
        }
    }
}

fn refused(failure: protocol::vmm::v1::Failure) -> VmmError {
    use protocol::vmm::v1::failure::Kind;
    let kind = match failure.kind() {
        Kind::InvalidConfig => Refusal::InvalidConfig,
        Kind::InvalidSnapshot => Refusal::InvalidSnapshot,
        Kind::IncompatibleCpu => Refusal::IncompatibleCpu,
        Kind::WrongState => Refusal::WrongState,
        Kind::Host | Kind::Unspecified => Refusal::Host,
    };
    VmmError::Refused {
        kind,
        message: failure.message,
    }
}
