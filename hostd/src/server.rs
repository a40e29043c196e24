//! The listeners, and the gRPC server behind them.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::hostd::v1::files_server::FilesServer;
use protocol::hostd::v1::host_server::HostServer;
use protocol::hostd::v1::networks_server::NetworksServer;
use protocol::hostd::v1::processes_server::ProcessesServer;
use protocol::hostd::v1::sandboxes_server::SandboxesServer;
use protocol::hostd::v1::snapshots_server::SnapshotsServer;
use protocol::hostd::v1::tokens_server::TokensServer;
use protocol::{FILE_DESCRIPTOR_SET, MAX_MESSAGE_BYTES};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::codegen::http::Request;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Server, ServerTlsConfig};
use tonic_health::ServingStatus;
use tower::layer::util::{Identity, Stack};
use tower::util::MapRequestLayer;

use crate::api::auth::{Auth, Door};
use crate::api::broken_off::tell_resets;
use crate::api::files::FilesApi;
use crate::api::host::HostApi;
use crate::api::networks::NetworksApi;
use crate::api::processes::ProcessesApi;
use crate::api::sandboxes::SandboxesApi;
use crate::api::snapshots::SnapshotsApi;
use crate::api::tokens::TokensApi;
use crate::config::{Config, ListenAddress, TlsFiles};
use crate::sandboxes::Sandboxes;

/// What one stream of a client may hold unread here, in bytes.
const STREAM_WINDOW: u32 = 256 << 10;
/// Streams that one client may have open.
const MAX_STREAMS: u32 = 1024;
/// What all streams of a connection may hold unread together, in bytes. The sum of their windows: however many programs do not
/// read what a client sends them, its next call comes through.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MAX_STREAMS;
/// Headers of a request: a token and the client's own.
const MAX_HEADER_BYTES: u32 = 16 << 10;
/// A client that is gone without a word is noticed after these two.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// What is still being answered when all sandboxes have ended may take this long. Those who watch are told of every end first.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// The services that reflection shows and whose health can be asked for by name.
const SERVICES: &[&str] = &[
    protocol::hostd::v1::sandboxes_server::SERVICE_NAME,
    protocol::hostd::v1::processes_server::SERVICE_NAME,
    protocol::hostd::v1::files_server::SERVICE_NAME,
    protocol::hostd::v1::snapshots_server::SERVICE_NAME,
    protocol::hostd::v1::networks_server::SERVICE_NAME,
    protocol::hostd::v1::host_server::SERVICE_NAME,
    protocol::hostd::v1::tokens_server::SERVICE_NAME,
];

/// Why hostd cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// As configured.
        address: ListenAddress,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Somebody listens on this socket.
    #[error("another server listens on {0}; stop it or choose another --listen")]
    Taken(ListenAddress),
    /// Certificates that cannot be used, or a broken listener.
    #[error("gRPC server")]
    Server(#[from] tonic::transport::Error),
    /// The descriptors of our own API are broken.
    #[error("gRPC reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Bound listeners.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<Socket>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener, SocketFile),
    Tcp(TcpListener),
}

impl Listeners {
    /// Binds all addresses. A socket file that nobody listens on any more is replaced.
    pub async fn bind(config: &Config) -> Result<Self, ServeError> {
        let mut sockets = Vec::new();
        for address in &config.listen {
            let failed = |source| ServeError::Listen {
                address: address.clone(),
                source,
            };
            let socket = match address {
                ListenAddress::Unix(path) => {
                    if UnixStream::connect(path).await.is_ok() {
                        return Err(ServeError::Taken(address.clone()));
                    }
                    let (listener, file) = bind_unix(path, config.socket_mode).map_err(failed)?;
                    Socket::Unix(listener, file)
                }
                ListenAddress::Tcp(at) => Socket::Tcp(TcpListener::bind(at).await.map_err(failed)?),
            };
            sockets.push(socket);
        }
        Ok(Self { sockets })
    }

    /// What clients may connect to, with the ports that the kernel chose.
    pub fn addresses(&self) -> Vec<String> {
        let address = |socket: &Socket| match socket {
            Socket::Unix(_, file) => format!("unix:{}", file.0.display()),
            Socket::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|_| "tcp:?".into(), |at| format!("tcp:{at}")),
        };
        self.sockets.iter().map(address).collect()
    }

    /// Serves until hostd is to end, then finishes what is being answered, within limits.
    pub async fn serve(self, sandboxes: Sandboxes) -> Result<(), ServeError> {
        let (health, routes) = routes(&sandboxes).await?;
        let (config, stop) = (&sandboxes.services().config, &sandboxes.services().stopping);
        let mut servers = JoinSet::new();
        for socket in self.sockets {
            let (routes, stopped) = (routes.clone(), stop.clone().cancelled_owned());
            match socket {
                Socket::Unix(listener, file) => {
                    let server = server(None).add_routes(routes);
                    servers.spawn(async move {
                        let served = server
                            .serve_with_incoming_shutdown(
                                UnixListenerStream::new(listener),
                                stopped,
                            )
                            .await;
                        drop(file);
                        served
                    });
                }
                Socket::Tcp(listener) => {
                    let mut server = server(Some(sandboxes.services().door()));
                    if let Some(tls) = &config.tls {
                        server = server.tls_config(tls_config(tls))?;
                    }
                    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                    servers.spawn(
                        server
                            .add_routes(routes)
                            .serve_with_incoming_shutdown(incoming, stopped),
                    );
                }
            }
        }
        let ended_early = tokio::select! {
            () = stop.cancelled() => None,
            ended = servers.join_next() => ended,
        };
        for service in SERVICES.iter().chain(&[""]) {
            health
                .set_service_status(service, ServingStatus::NotServing)
                .await;
        }
        if let Some(Ok(ended)) = ended_early {
            ended?;
        }
        // Also when a listener broke, which then ends all others.
        stop.cancel();
        let drained = async { while servers.join_next().await.is_some() {} };
        let patience = async {
            sandboxes.services().all_ended.cancelled().await;
            tokio::time::sleep(DRAIN_LIMIT).await;
        };
        tokio::select! {
            () = drained => {}
            () = patience => {
                tracing::warn!("some clients are still connected; closing their connections");
            }
        }
        Ok(())
    }
}

/// What every request passes before it reaches a service.
type Layers = Stack<MapRequestLayer<fn(Request<Body>) -> Request<Body>>, Stack<Auth, Identity>>;

fn server(door: Option<Door>) -> Server<Layers> {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(Auth { door })
        .layer(MapRequestLayer::new(tell_resets as fn(_) -> _))
}

/// All services behind every listener.
async fn routes(
    sandboxes: &Sandboxes,
) -> Result<(tonic_health::server::HealthReporter, Routes), ServeError> {
    macro_rules! limited {
        ($server:expr) => {
            $server
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES)
        };
    }
    // Named one by one: what is between hostd and its guests is nobody else's business.
    let reflection = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET);
        SERVICES.iter().fold(builder, |builder, service| {
            builder.with_service_name(*service)
        })
    };
    let (health, health_server) = tonic_health::server::health_reporter();
    for service in SERVICES {
        health
            .set_service_status(service, ServingStatus::Serving)
            .await;
    }
    let routes = Routes::new(limited!(SandboxesServer::new(SandboxesApi {
        sandboxes: sandboxes.clone()
    })))
    .add_service(limited!(ProcessesServer::new(ProcessesApi {
        sandboxes: sandboxes.clone()
    })))
    .add_service(limited!(FilesServer::new(FilesApi {
        sandboxes: sandboxes.clone()
    })))
    .add_service(limited!(SnapshotsServer::new(SnapshotsApi {
        sandboxes: sandboxes.clone()
    })))
    .add_service(limited!(NetworksServer::new(NetworksApi {
        sandboxes: sandboxes.clone()
    })))
    .add_service(limited!(HostServer::new(HostApi {
        sandboxes: sandboxes.clone()
    })))
    .add_service(limited!(TokensServer::new(TokensApi {
        tokens: sandboxes.services().tokens.clone()
    })))
    .add_service(health_server)
    .add_service(reflection().build_v1()?)
    .add_service(reflection().build_v1alpha()?);
    Ok((health, routes))
}

fn tls_config(files: &TlsFiles) -> ServerTlsConfig {
    let config = ServerTlsConfig::new().identity(tonic::transport::Identity::from_pem(
        &files.cert,
        &files.key,
    ));
    match &files.client_ca {
        Some(authority) => config.client_ca_root(Certificate::from_pem(authority)),
        None => config,
    }
}

/// A bound socket's name, removed with the listener.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Binds under a name of our own and renames it into place, so that nobody can connect before the permissions
/// are set.
fn bind_unix(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    if let Some(parent) = path.parent() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)?;
    }
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file of this name that is not a socket",
            ));
        }
        _ => {}
    }
    let mut hidden = path.as_os_str().to_owned();
    hidden.push(".new");
    let hidden = PathBuf::from(hidden);
    let _ = fs::remove_file(&hidden);
    let listener = UnixListener::bind(&hidden)?;
    fs::set_permissions(&hidden, Permissions::from_mode(mode))?;
    fs::rename(&hidden, path)?;
    Ok((listener, SocketFile(path.to_owned())))
}
