//! The connection to an agent, for tonic's clients: HTTP/2 over a stream of the vmm's vsock socket.
//!
//! Control calls and data streams share the connection, so what data streams may hold is bounded such that control calls
//! always come through: there are fewer places for data calls than the agent has streams, and all of them stalled do not
//! fill the connection's window.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::client::{Builder, SendRequest};
use protocol::AGENT_VSOCK_PORT;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, Semaphore};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Bytes, StdError};
use tower::Service;

use super::exchange::{Answer, exchange};
use super::vsock::{self, VsockError};
use crate::error::Error;

/// A connection that was lost while the guest's driver came up is given up after this.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// What one stream may hold unread, in bytes: what a slow reader costs.
const STREAM_WINDOW: u32 = 256 << 10;
/// Data calls of one sandbox at once: half of the streams that its agent takes, so that control calls need not wait for one.
const MAX_DATA_CALLS: u32 = 512;
/// Control calls come from the sandbox's own task, and from a client that asks for figures.
const CONTROL_CALLS: u32 = 16;
/// What all streams of a sandbox may hold unread together, in bytes. The sum of their windows, so that no number of stalled
/// streams stops another. It is memory only while as many clients stall as many streams.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * (MAX_DATA_CALLS + CONTROL_CALLS);
/// Of one frame, in bytes: the largest that the agent makes.
const MAX_FRAME_BYTES: u32 = 64 << 10;
/// All headers and trailers of one answer, in bytes: error details travel there.
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// Why a call did not reach the agent, or its answer us.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The guest does not take the connection.
    #[error("the guest does not take the connection within {CONNECT_LIMIT:?}")]
    Timeout,
    /// There is no stream to the guest.
    #[error("no stream to the guest")]
    Vsock(#[from] VsockError),
    /// The connection or the call's stream broke.
    #[error("the connection to the agent broke")]
    Http2(#[from] h2::Error),
}

/// A connection that is made again when it breaks. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Transport {
    shared: Arc<Shared>,
    is_data: bool,
}

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    connection: Mutex<SendRequest<Bytes>>,
    places: Arc<Semaphore>,
}

impl Transport {
    /// Connects to the agent behind a vmm's vsock socket. Calls over the result are control calls.
    pub async fn connect(socket: &Path) -> Result<Self, TransportError> {
        let shared = Shared {
            socket: socket.to_owned(),
            connection: Mutex::new(open(socket).await?),
            places: Arc::new(Semaphore::new(MAX_DATA_CALLS as usize)),
        };
        Ok(Self {
            shared: Arc::new(shared),
            is_data: false,
        })
    }

    /// The same connection for clients' calls, of which there can be many.
    pub fn for_data(&self) -> Self {
        Self {
            is_data: true,
            ..self.clone()
        }
    }

    async fn call(self, request: Request<Body>) -> Result<Response<Answer>, StdError> {
        let place = match self.is_data {
            true => Some(
                self.shared
                    .places
                    .clone()
                    .try_acquire_owned()
                    .map_err(full)?,
            ),
            false => None,
        };
        let connection = self.shared.ready().await?;
        let answer = exchange(connection, request, place).await;
        Ok(answer.map_err(TransportError::Http2)?)
    }
}

impl Shared {
    /// The connection, or a new one when it is broken.
    async fn ready(&self) -> Result<SendRequest<Bytes>, TransportError> {
        let mut connection = self.connection.lock().await;
        // A new handle has no stream that waits to be opened, so this only tells whether the connection is broken.
        if let Ok(ready) = connection.clone().ready().await {
            return Ok(ready);
        }
        *connection = open(&self.socket).await?;
        Ok(connection.clone())
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Answer>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, StdError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().call(request))
    }
}

async fn open(socket: &Path) -> Result<SendRequest<Bytes>, TransportError> {
    let connecting = tokio::time::timeout(CONNECT_LIMIT, vsock::connect(socket, AGENT_VSOCK_PORT));
    let stream = connecting.await.map_err(|_| TransportError::Timeout)??;
    Ok(handshake(stream).await?)
}

async fn handshake(stream: UnixStream) -> Result<SendRequest<Bytes>, h2::Error> {
    let (sender, connection) = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES)
        .enable_push(false)
        .handshake(stream)
        .await?;
    // Ends with the stream, or with the last sender and answer.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to an agent broke");
        }
    });
    Ok(sender)
}

fn full(_: tokio::sync::TryAcquireError) -> Status {
    Error::TooManyCalls {
        limit: MAX_DATA_CALLS,
    }
    .into()
}
