//! Getting through to an agent that may not run yet.

use std::error::Error as StdError;
use std::path::Path;
use std::time::Duration;

use protocol::agent::v1::HelloRequest;
use tokio::time::Instant;
use tonic::Status;

use super::Agent;
use super::transport::{Transport, TransportError};
use super::vsock::VsockError;
use crate::error::chain;

/// A restored agent already listens, so the first tries come quickly; a booting kernel takes seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// An agent that accepted but does not answer Hello is tried again after this.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// Versions are short; a longer one is nonsense.
const MAX_VERSION_LEN: usize = 64;

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
    loop {
        let problem = match tokio::time::timeout_at(deadline, try_once(socket)).await {
            Ok(Ok(agent)) => return Ok(agent),
            Ok(Err(Problem::Final(problem))) => return Err(ConnectError::Protocol(problem)),
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
    /// Trying again is of no use.
    Final(String),
}

async fn try_once(socket: &Path) -> Result<Agent, Problem> {
    let transport = Transport::connect(socket)
        .await
        .map_err(|error| match &error {
            TransportError::Vsock(VsockError::Answer(_)) => Problem::Final(chain(&error)),
            _ => Problem::NotYet(chain(&error)),
        })?;
    let agent = Agent {
        transport,
        version: String::new(),
    };
    let mut control = agent.control();
    let hello = match tokio::time::timeout(HELLO_LIMIT, control.hello(HelloRequest {})).await {
        Ok(Ok(hello)) => hello.into_inner(),
        Ok(Err(status)) => return Err(hello_problem(&status)),
        Err(_) => {
            let problem = format!("it did not answer Hello within {HELLO_LIMIT:?}");
            return Err(Problem::NotYet(problem));
        }
    };
    let version = hello.agent_version;
    if version.is_empty()
        || version.len() > MAX_VERSION_LEN
        || !version.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(Problem::Final("its version is not a version".into()));
    }
    Ok(Agent { version, ..agent })
}

/// A guest that comes up may accept connections and break them, however often. What it never does is send something else than
/// HTTP/2, or another answer than Hello's.
fn hello_problem(status: &Status) -> Problem {
    let mut source = status.source();
    let mut is_broken = false;
    while let Some(cause) = source {
        is_broken |= match cause.downcast_ref::<h2::Error>() {
            // The fault is one that our side found in what came.
            Some(error) => !error.is_library(),
            None => {
                cause.is::<TransportError>() && cause.source().is_none_or(|s| !s.is::<h2::Error>())
            }
        };
        source = cause.source();
    }
    let problem = match status.source() {
        Some(cause) => chain(cause),
        None => format!(
            "it answered Hello with {}: {}",
            status.code(),
            status.message()
        ),
    };
    if is_broken {
        Problem::NotYet(problem)
    } else {
        Problem::Final(problem)
    }
}
