//! A host with a gateway, and people with tokens who call it.

use std::fs;
use std::net::SocketAddr;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use protocol::hostd::v1::sandboxes_client::SandboxesClient;
use protocol::hostd::v1::snapshots_client::SnapshotsClient;
use protocol::hostd::v1::tokens_client::TokensClient;
use protocol::hostd::v1::*;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WebSocketError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::gateway::ask;
use crate::host::{Host, PATIENCE, boot_request};

pub const OPERATOR: &str = "ddo_the-operators-own-token";

pub type Socket = WebSocketStream<TcpStream>;

/// Shows a token with each call.
#[derive(Clone)]
pub struct Shows(MetadataValue<Ascii>);

impl tonic::service::Interceptor for Shows {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("authorization", self.0.clone());
        Ok(request)
    }
}

pub type Transport = InterceptedService<Channel, Shows>;

/// Somebody with a token.
pub struct Tenant {
    pub secret: String,
    pub transport: Transport,
    pub gateway: SocketAddr,
}

impl Tenant {
    pub fn sandboxes(&self) -> SandboxesClient<Transport> {
        SandboxesClient::new(self.transport.clone())
    }

    pub fn snapshots(&self) -> SnapshotsClient<Transport> {
        SnapshotsClient::new(self.transport.clone())
    }

    pub fn tokens(&self) -> TokensClient<Transport> {
        TokensClient::new(self.transport.clone())
    }

    /// A new token's secret.
    pub async fn make(&self, request: CreateTokenRequest) -> Result<String, Status> {
        Ok(self.tokens().create(request).await?.into_inner().secret)
    }

    pub async fn known_tokens(&self) -> Result<Vec<Token>, Status> {
        let request = ListTokensRequest::default();
        Ok(self.tokens().list(request).await?.into_inner().tokens)
    }

    pub async fn boot(&self) -> Result<Sandbox, Status> {
        let made = self.sandboxes().create(boot_request("")).await?;
        Ok(made.into_inner())
    }

    pub async fn get(&self, id: &str) -> Result<Sandbox, Status> {
        let request = GetSandboxRequest {
            sandbox_id: id.into(),
        };
        Ok(self.sandboxes().get(request).await?.into_inner())
    }

    pub async fn listed(&self) -> Vec<String> {
        let list = self.sandboxes().list(ListSandboxesRequest::default()).await;
        let sandboxes = list.unwrap().into_inner().sandboxes;
        sandboxes.into_iter().map(|sandbox| sandbox.id).collect()
    }

    pub async fn save(&self, id: &str, name: &str) -> Result<Snapshot, Status> {
        let request = CreateSnapshotRequest {
            sandbox_id: id.into(),
            name: name.into(),
            ..Default::default()
        };
        Ok(self.snapshots().create(request).await?.into_inner())
    }

    pub async fn snapshot(&self, reference: &str) -> Result<Snapshot, Status> {
        let request = GetSnapshotRequest {
            snapshot: reference.into(),
        };
        Ok(self.snapshots().get(request).await?.into_inner())
    }

    pub async fn delete(&self, reference: &str) -> Result<(), Status> {
        let request = DeleteSnapshotRequest {
            snapshot: reference.into(),
        };
        self.snapshots().delete(request).await.map(|_| ())
    }

    /// A request of the SDKs: the status, and the code in the body.
    pub async fn rest(&self, request: &str) -> (u16, String) {
        self.rest_with(request, "").await
    }

    /// The same with more headers.
    pub async fn rest_with(&self, request: &str, headers: &str) -> (u16, String) {
        let headers = format!("authorization: Bearer {}\r\n{headers}", self.secret);
        let (head, body) = ask(self.gateway, request, &headers, "").await;
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    }

    /// A session of the SDKs, or the status that refuses it.
    pub async fn session(&self, path: &str) -> Result<Socket, u16> {
        self.session_of(path, "{}").await
    }

    /// The same with a configuration.
    pub async fn session_of(&self, path: &str, config: &str) -> Result<Socket, u16> {
        let url = format!("ws://{}{path}", self.gateway);
        let mut request = url.into_client_request().unwrap();
        let bearer = format!("Bearer {}", self.secret).parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        let config = BASE64_STANDARD.encode(config).parse().unwrap();
        request
            .headers_mut()
            .insert("x-deno-sandbox-config", config);
        let stream = TcpStream::connect(self.gateway).await.unwrap();
        let connecting = tokio_tungstenite::client_async(request, stream);
        match tokio::time::timeout(PATIENCE, connecting).await.unwrap() {
            Ok((socket, _)) => Ok(socket),
            Err(WebSocketError::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }
}

pub struct House {
    pub host: Host,
    pub files: TempDir,
}

impl House {
    pub async fn start() -> Self {
        let files = tempfile::tempdir().unwrap();
        let token = files.path().join("token");
        fs::write(&token, OPERATOR).unwrap();
        let host = Host::start_with(&options(token.to_str().unwrap())).await;
        Self { host, files }
    }

    pub async fn with(&self, secret: &str) -> Tenant {
        let mut addresses = self.host.addresses.iter();
        let tcp = addresses.find_map(|address| address.strip_prefix("tcp:"));
        let url = format!("http://{}", tcp.unwrap());
        let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
        let bearer = format!("Bearer {secret}").parse().unwrap();
        Tenant {
            secret: secret.to_owned(),
            transport: InterceptedService::new(channel, Shows(bearer)),
            gateway: self.host.gateway.unwrap(),
        }
    }

    pub async fn tenant(&self, request: CreateTokenRequest) -> Tenant {
        let operator = self.with(OPERATOR).await;
        self.with(&operator.make(request).await.unwrap()).await
    }
}

pub fn options(token: &str) -> [&str; 6] {
    [
        "--listen",
        "tcp:127.0.0.1:0",
        "--gateway",
        "127.0.0.1:0",
        "--token-file",
        token,
    ]
}

pub fn token(organisation: &str, scopes: &[TokenScope]) -> CreateTokenRequest {
    CreateTokenRequest {
        organisation: organisation.into(),
        scopes: scopes.iter().map(|scope| i32::from(*scope)).collect(),
        ..Default::default()
    }
}
