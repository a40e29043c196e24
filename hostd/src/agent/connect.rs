//! Getting through to an agent that may not run yet.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use protocol::AGENT_VSOCK_PORT;
use protocol::agent::v1::HelloRequest;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

use super::vsock::{self, VsockError};
use super::{Agent, limited};
use crate::error::{Error, chain};

/// A restored agent already listens, so the first tries come quickly; a booting kernel takes seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// A try that was lost while the guest's driver came up is given up after this.
const TRY_LIMIT: Duration = Duration::from_secs(1);
/// An agent that accepted but does not answer Hello is tried again after this.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// So often may an agent that accepts connections break the protocol before it is given up.
const MAX_BROKEN: u32 = 5;
/// Versions are short; a longer one is nonsense.
const MAX_VERSION_LEN: usize = 64;

/// What one stream may hold unread, in bytes: what a slow reader costs.
const STREAM_WINDOW: u32 = 256 << 10;
/// What all streams of a sandbox may hold together. Larger than a stream's by so much that some dozens of
/// stalled streams do not stop the others.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// All headers and trailers of one answer, in bytes: error details travel there.
const MAX_HEADER_BYTES: u32 = 64 << 10;

/// Why no agent could be had.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody, or nobody sensible, answered in time.
    #[error("the guest's agent did not answer within {limit:?}; the last try: {last}")]
    Timeout {
        /// The time it had.
        limit: Duration,
        /// How the last try failed.
        last: String,
    },
    /// Somebody answered, but not an agent.
    #[error("what answers on the agent's port is no agent: {0}")]
    Protocol(String),
}

/// Connects to the agent behind a vmm's vsock socket and exchanges Hello, trying again until `limit`.
pub async fn connect(socket: &Path, limit: Duration) -> Result<Agent, ConnectError> {
    let deadline = Instant::now() + limit;
    let mut pause = FIRST_PAUSE;
    let mut broken = 0;
    loop {
        let problem = match tokio::time::timeout_at(deadline, try_once(socket)).await {
            Ok(Ok(agent)) => return Ok(agent),
            Ok(Err(Problem::Final(problem))) => return Err(ConnectError::Protocol(problem)),
            Ok(Err(Problem::Broken(problem))) => {
                broken += 1;
                if broken >= MAX_BROKEN {
                    return Err(ConnectError::Protocol(problem));
                }
                problem
            }
            Ok(Err(Problem::NotYet(problem))) => problem,
            Err(_) => "it did not come back".into(),
        };
        if Instant::now() + pause >= deadline {
            return Err(ConnectError::Timeout {
                limit,
                last: problem,
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

enum Problem {
    /// As expected of a guest that still boots.
    NotYet(String),
    /// Somebody accepted and then failed.
    Broken(String),
    /// Trying again is of no use.
    Final(String),
}

async fn try_once(socket: &Path) -> Result<Agent, Problem> {
    let stream = match tokio::time::timeout(TRY_LIMIT, vsock::connect(socket, AGENT_VSOCK_PORT))
        .await
    {
        Ok(Ok(stream)) => stream,
        Ok(Err(error @ VsockError::Refused { .. })) => return Err(Problem::NotYet(chain(&error))),
        Ok(Err(error @ VsockError::Answer(_))) => return Err(Problem::Final(chain(&error))),
        Err(_) => {
            return Err(Problem::NotYet(
                "the guest does not take the connection".into(),
            ));
        }
    };
    let channel = channel(socket.to_owned(), stream)
        .await
        .map_err(|error| Problem::Broken(chain(&error)))?;
    let agent = Agent {
        channel,
        version: String::new(),
    };
    let mut control = agent.control();
    let hello = limited("Hello", HELLO_LIMIT, control.hello(HelloRequest {}))
        .await
        .map_err(|error| match error {
            Error::AgentTimeout { .. } => Problem::NotYet(chain(&error)),
            Error::Agent(_) => Problem::Final(chain(&error)),
            error => Problem::Broken(chain(&error)),
        })?;
    let version = hello.agent_version;
    if version.is_empty()
        || version.len() > MAX_VERSION_LEN
        || !version.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(Problem::Final("its version is not a version".into()));
    }
    Ok(Agent { version, ..agent })
}

/// An HTTP/2 connection over `stream`. Should it break, the channel makes the next one by itself.
async fn channel(socket: PathBuf, stream: UnixStream) -> Result<Channel, tonic::transport::Error> {
    let first = Arc::new(Mutex::new(Some(stream)));
    let connector = tower::service_fn(move |_: tonic::codegen::http::Uri| {
        let ready = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let socket = socket.clone();
        async move {
            let stream = match ready {
                Some(stream) => stream,
                None => tokio::time::timeout(TRY_LIMIT, vsock::connect(&socket, AGENT_VSOCK_PORT))
                    .await
                    .map_err(|elapsed| std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed))?
                    .map_err(std::io::Error::other)?,
            };
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    // The name is only for the protocol: no resolver ever sees it.
    Endpoint::from_static("http://agent.guest")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .connect_with_connector(connector)
        .await
}
