//! Clients of a hostd.

use std::path::Path;
use std::time::Duration;

use protocol::MAX_MESSAGE_BYTES;
use protocol::hostd::v1::files_client::FilesClient;
use protocol::hostd::v1::host_client::HostClient;
use protocol::hostd::v1::networks_client::NetworksClient;
use protocol::hostd::v1::processes_client::ProcessesClient;
use protocol::hostd::v1::sandboxes_client::SandboxesClient;
use protocol::hostd::v1::snapshots_client::SnapshotsClient;
use tonic::transport::{Channel, Endpoint};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// One connection and a client for every service on it.
#[derive(Clone, Debug)]
pub struct Clients {
    channel: Channel,
}

impl Clients {
    /// Connects to a unix socket.
    pub async fn unix(path: &Path) -> crate::Result<Self> {
        Self::connect(&format!("unix:{}", path.display())).await
    }

    /// Connects to `unix:PATH` or `http://HOST:PORT`.
    pub async fn connect(endpoint: &str) -> crate::Result<Self> {
        let endpoint = Endpoint::new(endpoint.to_owned())?.connect_timeout(CONNECT_TIMEOUT);
        let channel = endpoint.connect().await?;
        Ok(Self { channel })
    }

    /// The connection itself, for clients of other services.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Sandboxes.
    pub fn sandboxes(&self) -> SandboxesClient<Channel> {
        SandboxesClient::new(self.channel())
    }

    /// Processes.
    pub fn processes(&self) -> ProcessesClient<Channel> {
        ProcessesClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Files.
    pub fn files(&self) -> FilesClient<Channel> {
        FilesClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Networks.
    pub fn networks(&self) -> NetworksClient<Channel> {
        NetworksClient::new(self.channel())
    }

    /// Snapshots.
    pub fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel())
    }

    /// The host.
    pub fn host(&self) -> HostClient<Channel> {
        HostClient::new(self.channel())
    }
}
