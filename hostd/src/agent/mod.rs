//! The guest's agent: gRPC over vsock, and nothing of it trusted.
//!
//! [`connect`] gets through to an agent that may still boot, [`transport`] is the connection, [`exchange`] one call over it,
//! [`port`] a connection into the sandbox by way of it, [`barrier`] the call that makes a guest a machine of its own.
//!
//! Replies are decoded with size limits, headers too, every control call has a deadline, and windows
//! bound what unread streams may hold in memory. A lie costs the liar's sandbox only.

pub mod barrier;
pub mod connect;
pub mod exchange;
pub mod port;
pub mod transport;
pub mod vsock;

use std::future::Future;
use std::time::Duration;

use protocol::MAX_MESSAGE_BYTES;
use protocol::agent::v1::agent_client::AgentClient;
use protocol::agent::v1::files_client::FilesClient;
use protocol::agent::v1::ports_client::PortsClient;
use protocol::agent::v1::processes_client::ProcessesClient;
use protocol::agent::v1::{FreezeRequest, StatsRequest};
use tokio::time::Instant;
use tonic::codegen::http::Uri;
use tonic::{Code, Status};
use tonic_types::StatusExt;
use transport::Transport;

use crate::error::{Error, Result, chain};

/// Answers to the control calls are tiny.
const MAX_CONTROL_BYTES: usize = 64 << 10;
/// Freeze flushes file systems; on a slow disk that is long.
const FREEZE_LIMIT: Duration = Duration::from_secs(60);
/// Between tries to freeze a busy guest, which itself waits some seconds in each.
const FIRST_FREEZE_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_FREEZE_PAUSE: Duration = Duration::from_secs(1);
/// Figures are read from /proc.
const STATS_LIMIT: Duration = Duration::from_secs(5);

/// A connection to one guest's agent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Agent {
    transport: Transport,
    version: String,
}

/// What the guest says of itself; it may lie.
#[derive(Clone, Copy, Debug, Default)]
pub struct GuestFigures {
    /// PID 1 and the agent, in bytes.
    pub agent_pss: u64,
}

impl Agent {
    /// The version the agent says it has.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The calls about processes.
    pub fn processes(&self) -> ProcessesClient<Transport> {
        ProcessesClient::with_origin(self.transport.for_data(), origin())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The calls about files.
    pub fn files(&self) -> FilesClient<Transport> {
        FilesClient::with_origin(self.transport.for_data(), origin())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Connections to TCP ports.
    pub fn ports(&self) -> PortsClient<Transport> {
        PortsClient::with_origin(self.transport.for_data(), origin())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Freezes the sandbox's processes and flushes its file systems. Undone by [`Agent::enter`].
    ///
    /// An agent that is busy with a long file operation is asked again: nothing new begins meanwhile.
    pub async fn freeze(&self) -> Result<()> {
        let deadline = Instant::now() + FREEZE_LIMIT;
        let mut pause = FIRST_FREEZE_PAUSE;
        loop {
            let mut control = self.control();
            let left = deadline.saturating_duration_since(Instant::now());
            match limited("Freeze", left, control.freeze(FreezeRequest {})).await {
                Err(error) if is_busy(&error) && Instant::now() + pause < deadline => {}
                frozen => return frozen.map(drop),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_FREEZE_PAUSE);
        }
    }

    /// The guest's own figures.
    pub async fn figures(&self) -> Result<GuestFigures> {
        let mut control = self.control();
        let figures = limited("Stats", STATS_LIMIT, control.stats(StatsRequest {})).await?;
        Ok(GuestFigures {
            agent_pss: figures.agent_pss_bytes,
        })
    }

    fn control(&self) -> AgentClient<Transport> {
        AgentClient::with_origin(self.transport.clone(), origin())
            .max_decoding_message_size(MAX_CONTROL_BYTES)
    }
}

/// HTTP/2 wants a name; no resolver ever sees it.
fn origin() -> Uri {
    Uri::from_static("http://agent.guest")
}

/// Runs a unary call with a deadline, and sorts its errors.
async fn limited<T>(
    call: &'static str,
    limit: Duration,
    answer: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T> {
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(agent_error(status)),
        Err(_) => Err(Error::AgentTimeout { call, limit }),
    }
}

/// Whether the agent said that an operation, or another transition, did not end in time.
pub fn is_busy(error: &Error) -> bool {
    is_refusal(error, Code::Aborted, "BUSY")
}

/// Whether the agent said that there is no freeze to undo, and none under way: it looks after those that came before.
pub fn is_not_frozen(error: &Error) -> bool {
    is_refusal(error, Code::FailedPrecondition, "NOT_FROZEN")
}

fn is_refusal(error: &Error, code: Code, reason: &str) -> bool {
    let Error::Agent(status) = error else {
        return false;
    };
    let said = status.get_details_error_info().map(|info| info.reason);
    status.code() == code && said.as_deref() == Some(reason)
}

/// What an agent said on purpose passes; what looks like a broken agent or connection is told apart.
pub fn agent_error(status: Status) -> Error {
    if is_broken(&status) {
        let cause = std::error::Error::source(&status).map(chain);
        return Error::AgentProtocol(cause.unwrap_or_else(|| status.message().to_owned()));
    }
    Error::Agent(Box::new(status))
}

/// Our own side makes such a status of a connection that broke, or of a reply that cannot be decoded or is
/// too large. An agent that means such a code says more in its details.
fn is_broken(status: &Status) -> bool {
    let from_our_side = std::error::Error::source(status).is_some();
    let undecodable = matches!(
        status.code(),
        Code::Internal | Code::Unknown | Code::OutOfRange | Code::Unimplemented
    );
    from_our_side || (undecodable && status.details().is_empty())
}
