//! The gRPC server, on any stream of connections.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures::Stream;
use protocol::MAX_MESSAGE_BYTES;
use protocol::agent::v1::agent_server::AgentServer;
use protocol::agent::v1::files_server::FilesServer;
use protocol::agent::v1::ports_server::PortsServer;
use protocol::agent::v1::processes_server::ProcessesServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::barrier::{AgentService, Barrier};
use crate::files::FilesService;
use crate::ports::PortsService;
use crate::processes::{Accounts, ProcessesService};

/// Bytes that one stream may have in flight towards the agent.
const STREAM_WINDOW: u32 = 256 << 10;
/// Streams of one connection at once.
const MAX_STREAMS: u32 = 1024;
/// Bytes of all streams of a connection together. What a program does not read of its input stays unread here, and
/// however many such streams there are, the next call must come through.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS;
/// Bytes of one HTTP/2 frame: fewer frames for bulk data than the default of 16 KiB.
const FRAME: u32 = 64 << 10;

/// The server ended, which it does only when its connections do.
#[derive(Debug, thiserror::Error)]
#[error("serving: {0}")]
pub struct ServeError(#[from] tonic::transport::Error);

/// Serves agent, processes, files and ports on every connection until there are no more.
///
/// `run` is where exposed names are written down.
///
/// # Errors
/// When the stream of connections fails in a way that cannot be passed over.
pub async fn serve<C>(
    barrier: Arc<Barrier>,
    accounts: Accounts,
    run: PathBuf,
    connections: impl Stream<Item = io::Result<C>>,
) -> Result<(), ServeError>
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let agent = AgentServer::new(AgentService::new(barrier.clone()));
    let processes = ProcessesService::new(barrier.clone(), accounts.clone());
    let files = FilesService::new(barrier.clone(), accounts);
    let ports = PortsService::new(barrier, run);
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(MAX_STREAMS)
        .add_service(agent)
        .add_service(ProcessesServer::new(processes).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(FilesServer::new(files).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(PortsServer::new(ports).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .serve_with_incoming(connections)
        .await?;
    Ok(())
}
