//! The way to hostd.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use protocol::hostd::v1::{
    processes_client::ProcessesClient, sandboxes_client::SandboxesClient,
    snapshots_client::SnapshotsClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

/// A hostd that does not take the connection by then is as good as not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

type Transport = InterceptedService<Channel, Token>;

/// A connection to hostd.
pub struct Hostd {
    transport: Transport,
}

impl Hostd {
    /// Connects; calls carry the token in `token_file` when there is one.
    ///
    /// # Errors
    /// When hostd does not answer, or the token cannot be read.
    pub async fn connect(endpoint: &str, token_file: Option<&Path>) -> Result<Self> {
        let token = token_file.map(read_token).transpose()?;
        let channel = Endpoint::new(endpoint.to_owned())?
            .connect_timeout(CONNECT_TIMEOUT)
            .connect()
            .await
            .with_context(|| format!("cannot reach hostd at {endpoint}"))?;
        Ok(Self {
            transport: InterceptedService::new(channel, Token(token)),
        })
    }

    /// Sandboxes.
    pub fn sandboxes(&self) -> SandboxesClient<Transport> {
        SandboxesClient::new(self.transport.clone())
    }

    /// Processes.
    pub fn processes(&self) -> ProcessesClient<Transport> {
        ProcessesClient::new(self.transport.clone())
            .max_decoding_message_size(protocol::MAX_MESSAGE_BYTES)
    }

    /// Snapshots.
    pub fn snapshots(&self) -> SnapshotsClient<Transport> {
        SnapshotsClient::new(self.transport.clone())
    }
}

/// Adds the token to each call.
#[derive(Clone)]
pub struct Token(Option<MetadataValue<Ascii>>);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(bearer) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", bearer.clone());
        }
        Ok(request)
    }
}

fn read_token(path: &Path) -> Result<MetadataValue<Ascii>> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the token file {}", path.display()))?;
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", text.trim())
        .parse()
        .context("the token file holds no token")?;
    value.set_sensitive(true);
    Ok(value)
}
