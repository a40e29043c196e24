//! [`Proxy`]: one request's way into a sandbox, and its answer's way back.

use std::error::Error as StdError;
use std::sync::Arc;

use axum::body::Body;
use egress::hop;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::guest::Connector;
use super::names::Names;
use crate::error::Error;
use crate::http::Peer;
use crate::sandboxes::Sandboxes;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Connections to one name that are kept for its next requests, and how long.
const IDLE_CONNECTIONS: usize = 8;
const IDLE_TIME: std::time::Duration = std::time::Duration::from_secs(30);

/// Passes requests on. Cheap to clone.
#[derive(Clone)]
pub(super) struct Proxy {
    names: Arc<Names>,
    client: Client<Connector, Body>,
    /// Ends what is left of connections that are none of HTTP any more.
    all_ended: CancellationToken,
}

impl Proxy {
    pub(super) fn new(sandboxes: Sandboxes, names: Arc<Names>) -> Self {
        let all_ended = sandboxes.services().all_ended.clone();
        let connector = Connector {
            sandboxes,
            names: Arc::clone(&names),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Self {
            names,
            client,
            all_ended,
        }
    }

    /// The sandbox's answer, or why there is none.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match self.pass(request).await {
            Ok(response) => response,
            Err((status, text)) => {
                let mut response = Response::new(Body::from(format!("thaw: {text}\n")));
                *response.status_mut() = status;
                response
            }
        }
    }

    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Body>, Refusal> {
        let (mut head, body) = request.into_parts();
        let host = asked(&head.uri, &head.headers).ok_or(NO_HOST)?;
        let (_, name) = self.names.read(&host).ok_or(NOT_EXPOSED)?;
        let guest = head.extensions.remove::<OnUpgrade>();
        let upgrade = head.headers.get(UPGRADE).cloned();
        let upgrade = upgrade.filter(|_| asks_for_upgrade(&head.headers));
        hop::strip(&mut head.headers);
        if let Some(protocol) = &upgrade {
            ask(&mut head.headers, protocol);
        }
        let peer = head.extensions.get::<Peer>().copied();
        tell(&mut head.headers, &host, peer);
        head.uri = inside(&name, head.uri.path_and_query())?;
        head.version = Version::HTTP_11;
        let request = Request::from_parts(head, Body::new(body));
        let mut response = self.client.request(request).await.map_err(refusal)?;
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        hop::strip(response.headers_mut());
        if upgraded {
            let (Some(client), Some(protocol)) = (guest, upgrade) else {
                return Err(BROKEN);
            };
            let guest = hyper::upgrade::on(&mut response);
            ask(response.headers_mut(), &protocol);
            let all_ended = self.all_ended.clone();
            tokio::spawn(all_ended.run_until_cancelled_owned(carry(client, guest)));
        }
        Ok(response.map(Body::new))
    }
}

/// Why a request is not passed on.
type Refusal = (StatusCode, &'static str);

const NO_HOST: Refusal = (StatusCode::BAD_REQUEST, "the request names no host");
const NOT_EXPOSED: Refusal = (
    StatusCode::NOT_FOUND,
    "no sandbox is exposed under this name",
);
const NOBODY_LISTENS: Refusal = (
    StatusCode::BAD_GATEWAY,
    "the sandbox is there, but nobody listens on the port that was exposed",
);
const STANDS_STILL: Refusal = (
    StatusCode::SERVICE_UNAVAILABLE,
    "the sandbox does not run now",
);
const BROKEN: Refusal = (StatusCode::BAD_GATEWAY, "the sandbox gave no answer");

fn refusal(error: ClientError) -> Refusal {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(error) = cause {
        match error.downcast_ref::<Error>() {
            Some(Error::SandboxNotFound(_) | Error::Ended { .. }) => return NOT_EXPOSED,
            Some(Error::NotRunning { phase, .. }) if phase.has_ended() => return NOT_EXPOSED,
            Some(Error::NotRunning { .. } | Error::StandsStill { .. }) => return STANDS_STILL,
            Some(Error::Agent(status)) if status.code() == Code::NotFound => return NOT_EXPOSED,
            Some(Error::Agent(_)) => return NOBODY_LISTENS,
            Some(_) => return BROKEN,
            None => cause = error.source(),
        }
    }
    BROKEN
}

/// The host that a request names: in HTTP/2 beside its headers.
fn asked(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let header = || headers.get(HOST)?.to_str().ok().map(str::to_owned);
    uri.authority().map(ToString::to_string).or_else(header)
}

/// A request's address inside: its authority is what connections are kept by.
fn inside(name: &str, path: Option<&PathAndQuery>) -> Result<Uri, Refusal> {
    let root = PathAndQuery::from_static("/");
    let authority: Authority = name.parse().map_err(|_| NOT_EXPOSED)?;
    Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(authority)
        .path_and_query(path.cloned().unwrap_or(root))
        .build()
        .map_err(|_| NO_HOST)
}

fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    hop::tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"))
}

/// Asks for another protocol, or agrees to it.
fn ask(headers: &mut HeaderMap, protocol: &HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol.clone());
}

/// Tells the service who asked, and what for, as proxies do.
fn tell(headers: &mut HeaderMap, host: &str, peer: Option<Peer>) {
    let value = HeaderValue::from_str(host);
    if let Ok(host) = value {
        headers.insert(HOST, host.clone());
        headers.entry(FORWARDED_HOST).or_insert(host);
    }
    let Some(peer) = peer else {
        return;
    };
    let scheme = if peer.secure { "https" } else { "http" };
    headers
        .entry(FORWARDED_PROTO)
        .or_insert(HeaderValue::from_static(scheme));
    let mut hops: Vec<_> = hop::tokens(headers, &FORWARDED_FOR)
        .map(str::to_owned)
        .collect();
    hops.push(peer.address.ip().to_string());
    if let Ok(hops) = HeaderValue::from_str(&hops.join(", ")) {
        headers.insert(FORWARDED_FOR, hops);
    }
}

/// Carries what follows an upgrade, until one side ends.
async fn carry(client: OnUpgrade, guest: OnUpgrade) {
    let (Ok(client), Ok(guest)) = tokio::join!(client, guest) else {
        return;
    };
    let (mut client, mut guest) = (TokioIo::new(client), TokioIo::new(guest));
    // Whoever broke off: the other hears of the end.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut guest).await;
}
