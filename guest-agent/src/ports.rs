//! `thaw.agent.v1.Ports`: connections to what listens in the sandbox.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use protocol::agent::v1::dial_input::Input;
use protocol::agent::v1::dial_target::Target;
use protocol::agent::v1::ports_server::Ports;
use protocol::agent::v1::{DialInput, DialOutput, DialTarget};
use sandbox_rpc::exposed;
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming};

use crate::barrier::Barrier;
use crate::status::{invalid, task_lost};

/// Of a piece of what comes out of a connection, in bytes: a frame of HTTP/2.
const PIECE: usize = 64 << 10;
/// Loopback answers at once, unless the listener's queue is full.
const CONNECT_TIME: Duration = Duration::from_secs(10);

type Outputs = Pin<Box<dyn Stream<Item = Result<DialOutput, Status>> + Send>>;

/// The Ports service.
pub struct PortsService {
    barrier: Arc<Barrier>,
    /// Where exposed names are written down.
    run: PathBuf,
}

impl PortsService {
    /// Connects to this machine's ports.
    pub fn new(barrier: Arc<Barrier>, run: PathBuf) -> Self {
        Self { barrier, run }
    }

    async fn port(&self, target: Option<DialTarget>) -> Result<u16, Status> {
        match target.and_then(|target| target.target) {
            Some(Target::Port(port)) => u16::try_from(port)
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| invalid("port", "is not from 1 to 65535")),
            Some(Target::Exposed(name)) => {
                let run = self.run.clone();
                let port = tokio::task::spawn_blocking(move || exposed::port(&run, &name));
                let port = port.await.map_err(|_| task_lost())?;
                port.map_err(|error| match error.kind() {
                    ErrorKind::AddrNotAvailable => Status::unavailable(error.to_string()),
                    _ => Status::not_found(error.to_string()),
                })
            }
            None => Err(invalid("target", "missing")),
        }
    }
}

#[tonic::async_trait]
impl Ports for PortsService {
    type DialStream = Outputs;

    async fn dial(
        &self,
        request: Request<Streaming<DialInput>>,
    ) -> Result<Response<Outputs>, Status> {
        drop(self.barrier.admit()?);
        let mut inputs = request.into_inner();
        let first = inputs.message().await?.and_then(|first| first.input);
        let Some(Input::Target(target)) = first else {
            return Err(invalid("input", "the first message says where to"));
        };
        let port = self.port(Some(target)).await?;
        let _pass = self.barrier.admitted().await?;
        let stream = connect(port).await?;
        // What is written is small or urgent.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = tokio::io::split(stream);
        let writing = AbortOnDropHandle::new(tokio::spawn(write(inputs, writer)));
        Ok(Response::new(Box::pin(outputs(reader, writing))))
    }
}

/// Connects to whoever listens on either loopback address.
async fn connect(port: u16) -> Result<TcpStream, Status> {
    let addresses = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    let addresses = addresses.map(|address| (address, port).into());
    match timeout(CONNECT_TIME, TcpStream::connect(&addresses[..])).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Status::unavailable(format!("port {port}: {error}"))),
        Err(_) => Err(Status::deadline_exceeded(format!(
            "port {port} takes no connection within {CONNECT_TIME:?}"
        ))),
    }
}

/// Writes what comes until its end, which is the end of what is sent.
async fn write(mut inputs: Streaming<DialInput>, mut writer: WriteHalf<TcpStream>) {
    loop {
        match inputs.message().await {
            Ok(Some(message)) => {
                let Some(Input::Data(data)) = message.input else {
                    return;
                };
                if writer.write_all(&data).await.is_err() {
                    return;
                }
            }
            Ok(None) => {
                let _ = writer.shutdown().await;
                return;
            }
            // The client broke off: that is no end of what it sends.
            Err(_) => return,
        }
    }
}

/// What is read, until its end. Once nobody wants it, nothing more is written either.
fn outputs(
    reader: ReadHalf<TcpStream>,
    writing: AbortOnDropHandle<()>,
) -> impl Stream<Item = Result<DialOutput, Status>> + Send {
    let pieces = ReaderStream::with_capacity(reader, PIECE);
    pieces.map(move |piece| {
        let _ = &writing;
        match piece {
            Ok(data) => Ok(DialOutput { data }),
            Err(error) => Err(Status::aborted(error.to_string())),
        }
    })
}
