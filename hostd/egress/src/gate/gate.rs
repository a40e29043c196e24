//! [`Gate`]: one sandbox's running proxy.

use std::io;
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::accept;
use super::connection::Connections;
use super::counters::{Counters, Counts};
use super::pipes::Pipes;
use super::{Shared, Sockets};
use crate::resolver;

/// The congestion control towards the guest, which is on the same machine: the plain one, that every kernel has. Those
/// made for long ways, as BBR, pace what they send, and a timer for each segment costs more here than sending it.
const NEARBY: &[u8] = b"reno";

/// One sandbox's running proxy. It ends, and all connections with it, when it is dropped;
/// [`Gate::close`] waits for that.
pub struct Gate {
    connections: Arc<Connections>,
    closing: DropGuard,
    task: JoinHandle<()>,
}

impl Gate {
    /// Begins to serve the sockets. Needs a tokio runtime.
    ///
    /// # Errors
    /// The runtime cannot take the sockets, for want of descriptors or memory.
    pub fn start(shared: Shared, sockets: Sockets) -> io::Result<Self> {
        // What is accepted has it as well. Where the host's is another one, that is no worse than slower.
        let _ = SockRef::from(&sockets.tcp).set_tcp_congestion(NEARBY);
        let tcp = TcpListener::from_std(sockets.tcp)?;
        let dns_udp = UdpSocket::from_std(sockets.dns_udp)?;
        let dns_tcp = TcpListener::from_std(sockets.dns_tcp)?;
        let connections = Arc::new(Connections {
            shared: Arc::new(shared),
            counters: Counters::default(),
            pipes: Pipes::default(),
        });
        let closed = CancellationToken::new();
        let accepting = accept::run(connections.clone(), tcp, closed.clone());
        let resolving = resolver::serve(connections.shared.clone(), dns_udp, dns_tcp);
        let task = tokio::spawn(async move {
            tokio::select! {
                () = accepting => {}
                () = resolving => {}
            }
        });
        Ok(Self {
            connections,
            closing: closed.drop_guard(),
            task,
        })
    }

    /// What its connections share: the policy is changed there.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.connections.shared
    }

    /// What came so far.
    pub fn counts(&self) -> Counts {
        self.connections.counters.read()
    }

    /// Ends every connection, and returns when all are gone.
    pub async fn close(self) {
        drop(self.closing);
        // It returns nothing, and is not aborted.
        let _ = self.task.await;
    }
}
