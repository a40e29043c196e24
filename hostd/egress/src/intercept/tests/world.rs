//! A guest, an opened connection and an upstream, all on loopback.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::super::authority::Authority;
use super::super::session::{Common, Opened, Outside, Undialled, Wire};
use crate::audit::{AuditLog, Event, Subscription};
use crate::gate::Reached;
use crate::policy::{Host, HostName, Refusal, Target, Verdict};
use crate::secrets::Vault;

pub(super) type BodyOut = BoxBody<Bytes, hyper::Error>;
pub(super) type Handler =
    Arc<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<BodyOut>> + Send + Sync>;
pub(super) type TlsClient = tokio_rustls::client::TlsStream<TcpStream>;

/// The host that most tests talk to.
pub(super) const GOOD: &str = "good.example";

/// Places for requests under way.
pub(super) const REQUESTS: usize = 300;
/// Places for bodies that are signed.
pub(super) const SIGNING: usize = 4;

/// Makes a handler of an async closure.
pub(super) fn handler<F, R>(answer: F) -> Handler
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Response<BodyOut>> + Send + 'static,
{
    Arc::new(move |request| Box::pin(answer(request)))
}

/// A body that is all there.
pub(super) fn full(bytes: impl Into<Bytes>) -> BodyOut {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

/// A body of frames that a channel gives.
pub(super) fn channel() -> (
    tokio::sync::mpsc::Sender<Result<Frame<Bytes>, hyper::Error>>,
    BodyOut,
) {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let stream = futures::stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, BodyExt::boxed(StreamBody::new(stream)))
}

/// Says what it was asked: method, path, host, headers and body.
pub(super) fn echo() -> Handler {
    handler(|request| async {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let authority = head
            .uri
            .authority()
            .map(ToString::to_string)
            .unwrap_or_default();
        let path = head.uri.path_and_query().unwrap();
        let mut text = format!("{} {path} {authority} {:?}\n", head.method, head.version);
        let mut lines: Vec<_> = head
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()))
            .collect();
        lines.sort();
        text.extend(lines);
        text.push_str(&format!("\n{}", String::from_utf8_lossy(&body)));
        Response::new(full(text))
    })
}

/// The upstreams' own authority, and which names are where.
pub(super) struct World {
    pub(super) common: Common,
    pub(super) outside: Arc<Map>,
    roots: Authority,
    pub(super) log: AuditLog,
}

/// Which targets there are, and which of them are forbidden.
#[derive(Default)]
pub(super) struct Map {
    pub(super) places: Mutex<HashMap<String, SocketAddr>>,
    pub(super) forbidden: Mutex<Vec<String>>,
    pub(super) dialled: Mutex<Vec<String>>,
    pub(super) changed: tokio::sync::Notify,
}

impl Outside for Map {
    fn check(&self, target: &Target) -> Verdict {
        let forbidden = self
            .forbidden
            .lock()
            .unwrap()
            .contains(&target.host.to_string());
        if forbidden {
            Err(Refusal::NotAllowed)
        } else {
            Ok(())
        }
    }

    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Result<Reached, Undialled>> {
        self.dialled.lock().unwrap().push(target.to_string());
        let place = self
            .places
            .lock()
            .unwrap()
            .get(&target.host.to_string())
            .copied();
        Box::pin(async move {
            let place = place.ok_or(Undialled::Failed("no such host".into()))?;
            let connected = TcpStream::connect(place).await;
            let stream = connected.map_err(|_| Undialled::Failed("nobody listens".into()))?;
            let place = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
            let address = stream.peer_addr().unwrap().ip();
            Ok(Reached::new(stream, address, place))
        })
    }

    fn dial_given<'a>(
        &'a self,
        name: &'a HostName,
        port: u16,
    ) -> BoxFuture<'a, Result<Reached, Undialled>> {
        let target = Target::name(name.clone(), port);
        Box::pin(async move { self.dial(&target).await })
    }

    fn until_refused<'a>(&'a self, _target: &'a Target, _at: Option<IpAddr>) -> BoxFuture<'a, ()> {
        Box::pin(self.changed.notified())
    }
}

impl World {
    pub(super) fn new() -> Self {
        let roots = Authority::generate("upstreams").unwrap();
        let mut store = rustls::RootCertStore::empty();
        store.add(roots.certificate_der().clone()).unwrap();
        let (log, outside) = (AuditLog::default(), Arc::new(Map::default()));
        let common = Common {
            authority: Arc::new(Authority::generate("box").unwrap()),
            upstream_tls: Arc::new(client_config(store)),
            vault: Vault::default(),
            outside: Arc::clone(&outside) as Arc<dyn Outside>,
            requests: Arc::new(Semaphore::new(REQUESTS)),
            signing: Arc::new(Semaphore::new(SIGNING)),
            audit: log.sandbox("box"),
        };
        Self {
            common,
            outside,
            roots,
            log,
        }
    }

    /// A world with one TLS upstream, [`GOOD`], that offers these protocols.
    pub(super) async fn with(alpn: &[&str], answer: Handler) -> Self {
        let world = Self::new();
        world.tls_upstream(GOOD, GOOD, alpn, answer).await;
        world
    }

    /// An upstream for `host` that shows a certificate for `certified`.
    pub(super) async fn tls_upstream(
        &self,
        host: &str,
        certified: &str,
        alpn: &[&str],
        answer: Handler,
    ) {
        let leaf = self
            .roots
            .leaf(&ServerName::try_from(certified.to_owned()).unwrap())
            .unwrap();
        let mut config = super::super::tls::base_config().unwrap();
        config.cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from((*leaf).clone()));
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let (listener, acceptor) = (self.listen(host).await, TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    answer_on(stream, h2, answer).await;
                });
            }
        });
    }

    /// An upstream for `host` in the clear.
    pub(super) async fn plain_upstream(&self, host: &str, h2: bool, answer: Handler) {
        let listener = self.listen(host).await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer_on(stream, h2, Arc::clone(&answer)));
            }
        });
    }

    /// An upstream for `host` in the clear that does with each connection as it likes.
    pub(super) async fn raw_upstream<F, R>(&self, host: &str, serve: F)
    where
        F: Fn(TcpStream) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = self.listen(host).await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    }

    async fn listen(&self, host: &str) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        self.outside
            .places
            .lock()
            .unwrap()
            .insert(host.to_owned(), place);
        listener
    }

    /// Connects as a guest would to port 443 or 80 of `host`.
    pub(super) async fn connect(&self, wire: Wire, host: &str) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let (port, host) = match wire {
            Wire::Tls => (443, Some(Host::Name(HostName::parse(host).unwrap()))),
            Wire::Http1 | Wire::Http2 => (80, None),
        };
        let opened = Opened {
            wire,
            port,
            host,
            fallback: None,
        };
        tokio::spawn(super::super::serve_opened(
            accepted,
            self.common.clone(),
            opened,
        ));
        stream
    }

    /// TLS as a guest that trusts the sandbox's authority alone.
    pub(super) async fn connect_tls(&self, alpn: &[&str]) -> TlsClient {
        let stream = self.connect(Wire::Tls, GOOD).await;
        let mut store = rustls::RootCertStore::empty();
        store
            .add(self.common.authority.certificate_der().clone())
            .unwrap();
        let mut config = client_config(store);
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(GOOD).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap()
    }

    /// HTTP/1.1 over TLS.
    pub(super) async fn http1(&self) -> http1::SendRequest<BodyOut> {
        let stream = self.connect_tls(&["http/1.1"]).await;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    /// HTTP/2 over TLS.
    pub(super) async fn http2(&self) -> http2::SendRequest<BodyOut> {
        let stream = self.connect_tls(&["h2", "http/1.1"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Writes these bytes on a fresh TLS connection and reads until it ends.
    pub(super) async fn raw_tls(&self, bytes: &[u8]) -> String {
        talk(self.connect_tls(&["http/1.1"]).await, bytes).await
    }

    /// Writes these bytes on a fresh cleartext connection and reads until it ends.
    pub(super) async fn raw(&self, bytes: &[u8]) -> String {
        talk(self.connect(Wire::Http1, GOOD).await, bytes).await
    }

    /// The names that were dialled so far.
    pub(super) fn dialled(&self) -> Vec<String> {
        self.outside.dialled.lock().unwrap().clone()
    }
}

async fn answer_on<S>(stream: S, h2: bool, answer: Handler)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request| {
        let answered = answer(request);
        async move { Ok::<_, std::convert::Infallible>(answered.await) }
    });
    let io = TokioIo::new(stream);
    if h2 {
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(io, service)
            .await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(io, service)
            .with_upgrades()
            .await;
    }
}

async fn talk<S>(mut stream: S, bytes: &[u8]) -> String
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // An end without TLS's goodbye, or a reset, is an end.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn client_config(roots: rustls::RootCertStore) -> rustls::ClientConfig {
    rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A GET of a path at [`GOOD`], in the form of HTTP/2 or of HTTP/1.1.
pub(super) fn get(h2: bool, path: &str) -> Request<BodyOut> {
    request(h2, "GET", path, full(""))
}

/// A request to [`GOOD`].
pub(super) fn request(h2: bool, method: &str, path: &str, body: BodyOut) -> Request<BodyOut> {
    let builder = Request::builder().method(method);
    let builder = if h2 {
        builder
            .version(http::Version::HTTP_2)
            .uri(format!("https://{GOOD}{path}"))
    } else {
        builder.uri(path).header("host", GOOD)
    };
    builder.body(body).unwrap()
}

/// An answer's status, headers and text.
pub(super) async fn read(response: Response<Incoming>) -> (u16, HeaderMap, String) {
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        head.status.as_u16(),
        head.headers,
        String::from_utf8_lossy(&body).into_owned(),
    )
}

/// The next decision that is told.
pub(super) async fn told(events: &mut Subscription) -> String {
    match events.next().await {
        Some(Event::Decision(decision)) => decision.to_string(),
        other => panic!("{other:?}"),
    }
}
