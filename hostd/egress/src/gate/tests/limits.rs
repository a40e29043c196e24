use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::gate::{Gate, Limits, Sockets};
use crate::testing::{FakeDns, only, sandbox};

/// A gate that listens where it is dialled: enough for what is decided before a dial.
struct Running {
    gate: Gate,
    at: SocketAddr,
    _dns: FakeDns,
}

impl Running {
    async fn new(limits: Limits) -> Self {
        let dns = FakeDns::start(&[]).await;
        let (_, shared) = sandbox(&dns, only(&["good.example"]), limits);
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let sockets = Sockets {
            dns_udp: std::net::UdpSocket::bind("127.0.0.1:0").unwrap(),
            dns_tcp: std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
            tcp,
        };
        sockets.tcp.set_nonblocking(true).unwrap();
        sockets.dns_udp.set_nonblocking(true).unwrap();
        sockets.dns_tcp.set_nonblocking(true).unwrap();
        let at = sockets.tcp.local_addr().unwrap();
        let gate = Gate::start(shared, sockets).unwrap();
        Self {
            gate,
            at,
            _dns: dns,
        }
    }

    /// Nothing, if it is reset before it is seen to be there.
    async fn connect(&self) -> Option<TcpStream> {
        TcpStream::connect(self.at).await.ok()
    }
}

/// What does not come to its end hangs.
async fn within<T>(what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, what).await.expect("it hangs")
}

async fn is_reset(stream: Option<TcpStream>) -> bool {
    let Some(mut stream) = stream else {
        return true;
    };
    let mut byte = [0];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut byte));
    !matches!(read.await, Ok(Ok(1..)) | Err(_))
}

#[tokio::test]
async fn those_who_say_nothing_do_not_take_every_place() {
    let limits = Limits {
        undecided: 3,
        ..Limits::default()
    };
    let running = Running::new(limits).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut stream = running.connect().await.unwrap();
        stream.write_all(b"GET /").await.unwrap();
        waiting.push(stream);
    }
    assert!(is_reset(running.connect().await).await);
    assert_eq!(running.gate.counts().limited, 1);
    drop(waiting);
    // Their places are free again; a request is answered, though it is refused.
    let answered = async {
        loop {
            let Some(mut stream) = running.connect().await else {
                continue;
            };
            let request = b"GET / HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n";
            let mut answer = Vec::new();
            if stream.write_all(request).await.is_ok()
                && stream.read_to_end(&mut answer).await.is_ok()
            {
                return answer;
            }
        }
    };
    assert!(within(answered).await.starts_with(b"HTTP/1.1 403"));
}

#[tokio::test]
async fn a_flood_of_connections_is_reset_and_costs_little() {
    let limits = Limits {
        connections_burst: 50.try_into().unwrap(),
        connections_each_second: 1.try_into().unwrap(),
        ..Limits::default()
    };
    let running = Running::new(limits).await;
    let mut made = 0;
    for _ in 0..10_000 {
        // One that is reset before it is seen counts there, and not here.
        made += u64::from(running.connect().await.is_some());
    }
    let all_seen = async {
        while running.gate.counts().accepted < made {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(all_seen).await;
    let counts = running.gate.counts();
    assert!(counts.limited > 9_000, "{counts:?}");
}

#[tokio::test]
async fn closing_ends_every_connection() {
    let running = Running::new(Limits::default()).await;
    let mut stream = running.connect().await.unwrap();
    stream.write_all(b"GET /").await.unwrap();
    while running.gate.counts().accepted == 0 {
        tokio::task::yield_now().await;
    }
    let at = running.at;
    running.gate.close().await;
    assert!(is_reset(Some(stream)).await);
    assert!(TcpStream::connect(at).await.is_err());
}

#[tokio::test]
async fn dropping_it_ends_it_as_well() {
    let running = Running::new(Limits::default()).await;
    let at = running.at;
    drop(running);
    let gone = async {
        while TcpStream::connect(at).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(gone).await;
}
