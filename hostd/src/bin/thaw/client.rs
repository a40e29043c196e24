//! The way to hostd: endpoint, token, and one client per service.

use std::time::Duration;

use protocol::MAX_MESSAGE_BYTES;
use protocol::hostd::v1::files_client::FilesClient;
use protocol::hostd::v1::host_client::HostClient;
use protocol::hostd::v1::networks_client::NetworksClient;
use protocol::hostd::v1::processes_client::ProcessesClient;
use protocol::hostd::v1::sandboxes_client::SandboxesClient;
use protocol::hostd::v1::snapshots_client::SnapshotsClient;
use protocol::hostd::v1::tokens_client::TokensClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::args::Args;
use crate::error::Error;

/// A hostd that does not take the connection by then is as good as not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connected channel that carries the token.
pub type Transport = InterceptedService<Channel, Token>;

/// Adds the access token to each call.
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

/// A hostd that answered.
#[derive(Clone)]
pub struct Hostd {
    transport: Transport,
}

impl Hostd {
    /// Connects, so that an absent hostd is told apart from a failing call.
    pub async fn connect(args: &Args) -> Result<Self, Error> {
        let token = Token(read_token(args)?);
        let known = ["unix:", "http://", "https://"];
        let bad_endpoint = || Error::BadEndpoint(args.endpoint.clone());
        if !known.iter().any(|scheme| args.endpoint.starts_with(scheme)) {
            return Err(bad_endpoint());
        }
        let endpoint = Endpoint::new(args.endpoint.clone())
            .map_err(|_| bad_endpoint())?
            .connect_timeout(CONNECT_TIMEOUT);
        let channel = endpoint
            .connect()
            .await
            .map_err(|source| Error::Unreachable {
                endpoint: args.endpoint.clone(),
                source,
            })?;
        Ok(Self {
            transport: InterceptedService::new(channel, token),
        })
    }

    pub fn sandboxes(&self) -> SandboxesClient<Transport> {
        SandboxesClient::new(self.transport.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn processes(&self) -> ProcessesClient<Transport> {
        ProcessesClient::new(self.transport.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn files(&self) -> FilesClient<Transport> {
        FilesClient::new(self.transport.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn snapshots(&self) -> SnapshotsClient<Transport> {
        SnapshotsClient::new(self.transport.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn networks(&self) -> NetworksClient<Transport> {
        NetworksClient::new(self.transport.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn tokens(&self) -> TokensClient<Transport> {
        TokensClient::new(self.transport.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn host(&self) -> HostClient<Transport> {
        HostClient::new(self.transport.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}

/// The token as a header value: from the file, else from the environment, else none.
fn read_token(args: &Args) -> Result<Option<MetadataValue<Ascii>>, Error> {
    let text = match &args.token_file {
        Some(path) => std::fs::read_to_string(path).map_err(|source| Error::Local {
            what: format!("cannot read the token file {}", path.display()),
            source,
        })?,
        None => match std::env::var("THAW_TOKEN") {
            Ok(token) => token,
            Err(_) => return Ok(None),
        },
    };
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", text.trim())
        .parse()
        .map_err(|_| Error::BadToken)?;
    value.set_sensitive(true);
    Ok(Some(value))
}
