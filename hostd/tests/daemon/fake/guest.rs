//! What is behind the vsock socket: the vmm's handshake, then an agent or something worse.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

use protocol::agent::v1::agent_server::AgentServer;
use protocol::agent::v1::files_server::FilesServer;
use protocol::agent::v1::ports_server::PortsServer;
use protocol::agent::v1::processes_server::ProcessesServer;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::Trouble;
use super::agent::{FakeAgent, FakeFiles, FakeProcesses};
use super::ports::FakePorts;

/// Connections that `resets-first` resets.
const RESETS: u32 = 12;

/// What the agent knows.
#[derive(Debug)]
pub struct Guest {
    pub trouble: Trouble,
    pub state: Mutex<State>,
}

#[derive(Debug, Default)]
pub struct State {
    pub epoch: Option<String>,
    pub frozen: bool,
    pub freezing: bool,
}

impl Guest {
    /// Serves connections from now on. A restored guest comes back frozen.
    pub fn start(listener: UnixListener, trouble: Trouble, restored: bool) -> Arc<Self> {
        let state = State {
            epoch: restored.then(|| "of the one that was saved".into()),
            frozen: restored,
            freezing: false,
        };
        let guest = Arc::new(Self {
            trouble,
            state: Mutex::new(state),
        });
        let (connections, queue) = mpsc::unbounded_channel();
        std::thread::spawn(move || accept(&listener, trouble, &connections));
        let served = guest.clone();
        std::thread::spawn(move || serve(served, queue));
        guest
    }

    pub fn is_frozen(&self) -> bool {
        self.state.lock().unwrap().frozen
    }

    pub fn has_entered(&self) -> bool {
        let state = self.state.lock().unwrap();
        state.epoch.is_some() && !state.frozen
    }
}

fn accept(listener: &UnixListener, trouble: Trouble, agents: &mpsc::UnboundedSender<UnixStream>) {
    listener.set_nonblocking(false).unwrap();
    let mut idle = Vec::new();
    let mut resets = 0;
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut line = String::new();
        let mut reader = BufReader::with_capacity(1, stream.try_clone().unwrap());
        if reader.read_line(&mut line).is_err()
            || line != "CONNECT 1024\n"
            || trouble == Trouble::NoAgent
        {
            continue;
        }
        stream.write_all(b"OK 5000\n").unwrap();
        match trouble {
            Trouble::Silent => idle.push(stream),
            Trouble::ResetsFirst if resets < RESETS => resets += 1,
            Trouble::Garbage => {
                drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
                idle.push(stream);
            }
            Trouble::Endless => drop(std::thread::spawn(move || {
                while stream.write_all(&[0; 65536]).is_ok() {}
            })),
            _ => drop(agents.send(stream)),
        }
    }
}

fn serve(guest: Arc<Guest>, connections: mpsc::UnboundedReceiver<UnixStream>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let incoming = UnboundedReceiverStream::new(connections).map(|stream| {
            stream.set_nonblocking(true)?;
            tokio::net::UnixStream::from_std(stream)
        });
        let served = tonic::transport::Server::builder()
            .max_concurrent_streams(1024)
            .layer(tower::util::MapRequestLayer::new(
                hostd::api::broken_off::tell_resets,
            ))
            .add_service(AgentServer::new(FakeAgent {
                guest: guest.clone(),
            }))
            .add_service(ProcessesServer::new(FakeProcesses {
                guest: guest.clone(),
            }))
            .add_service(FilesServer::new(FakeFiles))
            .add_service(PortsServer::new(FakePorts { guest }))
            .serve_with_incoming(incoming)
            .await;
        served.unwrap();
    });
}
