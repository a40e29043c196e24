//! A gate on loopback: connections of a guest to whatever address, and hosts of all kinds.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use crate::audit::{Event, Subscription};
use crate::gate::connection::Connections;
use crate::gate::counters::Counters;
use crate::gate::pipes::Pipes;
use crate::gate::{Counts, Limits};
use crate::policy::Policy;
use crate::testing::{FakeDns, sandbox};

pub(super) const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// Where nobody is: what is dialled there is an error.
pub(super) const NOWHERE: Ipv4Addr = Ipv4Addr::new(127, 99, 99, 99);

pub(super) struct Stage {
    pub(super) dns: FakeDns,
    pub(super) connections: Arc<Connections>,
    pub(super) events: Subscription,
}

impl Stage {
    pub(super) async fn new(policy: Policy, limits: Limits) -> Self {
        Self::with(policy, limits, Pipes::default()).await
    }

    pub(super) async fn with(policy: Policy, limits: Limits, pipes: Pipes) -> Self {
        let dns = FakeDns::start(&[
            ("good.example", &[LOOPBACK]),
            ("other.example", &[LOOPBACK]),
        ])
        .await;
        let (egress, shared) = sandbox(&dns, policy, limits);
        let connections = Arc::new(Connections {
            shared: Arc::new(shared),
            counters: Counters::default(),
            pipes,
        });
        let events = egress.audit().subscribe();
        Self {
            dns,
            connections,
            events,
        }
    }

    /// Connects as the guest would, to this address.
    pub(super) async fn connect(&self, destination: SocketAddr) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let guest = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let connections = self.connections.clone();
        let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
        tokio::spawn(async move { connections.serve(accepted, destination, permit).await });
        guest
    }

    /// The sandbox was told that the name stands for this address.
    pub(super) fn given(&self, name: &str, address: Ipv4Addr) {
        let names = &self.connections.shared.names;
        names.remember(
            &name.parse().unwrap(),
            &[address],
            std::time::Instant::now(),
        );
    }

    pub(super) fn counts(&self) -> Counts {
        self.connections.counters.read()
    }

    /// The next event, as a line.
    pub(super) async fn told(&mut self) -> String {
        let event = tokio::time::timeout(Duration::from_secs(10), self.events.next());
        match event.await.expect("nothing is told") {
            Some(Event::Decision(decision)) => decision.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

/// Limits under which a silent client is given up soon.
pub(super) fn hasty() -> Limits {
    Limits {
        silence: Duration::from_millis(20),
        first_bytes: Duration::from_millis(300),
        ..Limits::default()
    }
}

/// A host that does this with each connection.
pub(super) async fn host<F, R>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// A host that says what it is told, and ends when it is told so.
pub(super) async fn echo_host() -> SocketAddr {
    host(|mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await
}

/// A host that tells each connection the first bytes that it got, as they are.
pub(super) async fn mirror_host() -> SocketAddr {
    host(|mut stream| async move {
        let mut first = [0; 4096];
        if let Ok(length) = stream.read(&mut first).await {
            let _ = stream.write_all(&first[..length]).await;
        }
    })
    .await
}

/// The ClientHello for a name, as rustls writes it.
pub(super) async fn hello(name: &str) -> Vec<u8> {
    let roots = rustls::RootCertStore::empty();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (client, mut server) = tokio::io::duplex(16 << 10);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connecting = tokio::spawn(TlsConnector::from(Arc::new(config)).connect(name, client));
    let mut bytes = vec![0; 8192];
    let length = server.read(&mut bytes).await.unwrap();
    connecting.abort();
    bytes.truncate(length);
    bytes
}

/// Writes this and reads to the end; nothing, if the connection is reset.
pub(super) async fn talk(mut stream: TcpStream, bytes: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(bytes).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    Some(answer)
}
