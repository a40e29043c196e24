//! `fetch`: a request from the sandbox's network, as the Fetch standard has it.

use std::sync::Arc;

use futures::{StreamExt as _, stream};
use reqwest::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Body, Client, Method, Response, StatusCode, Url};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{abortable, blocking, deno};
use crate::connection::read;
use crate::state::State;
use crate::streams::{Reader, Writer};
use crate::wire::{Answer, Error, Failure};

/// Redirects that are followed (Fetch, "HTTP-redirect fetch").
const MOST_REDIRECTS: usize = 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fetch {
    url: String,
    method: String,
    headers: Vec<(String, String)>,
    redirect: Redirect,
    abort_id: Option<u64>,
    body_stream_id: Option<u64>,
    /// A program that is asked, instead of the network.
    pid: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Redirect {
    Follow,
    Manual,
}

pub(super) async fn call(state: &State, params: &str) -> Answer {
    let asked: Fetch = read(params)?;
    let abort_id = asked.abort_id;
    let body = asked
        .body_stream_id
        .map(|id| state.incoming.reader(id))
        .transpose()?;
    let response = abortable(state, abort_id, send(asked, body)).await?;
    let head = head(&response);
    let stream = has_body(response.status()).then(|| {
        let writer = state.outgoing.begin(&state.outbox);
        let id = writer.id();
        let aborted = abort_id.map(|id| state.abort(id)).unwrap_or_default();
        tokio::spawn(pass(response, writer, aborted));
        id
    });
    Ok(with_body(head, stream))
}

async fn send(asked: Fetch, body: Option<Reader>) -> Result<Response, Failure> {
    let method = Method::from_bytes(asked.method.as_bytes());
    let method =
        method.map_err(|_| Error::type_error(format!("{:?} is no method", asked.method)))?;
    let policy = match asked.redirect {
        Redirect::Follow => Policy::limited(MOST_REDIRECTS),
        Redirect::Manual => Policy::none(),
    };
    let mut headers = headers(&asked.headers)?;
    let url = match asked.pid {
        None => Url::parse(&asked.url).map_err(|error| Error::type_error(error.to_string()))?,
        Some(pid) => of_program(&asked.url, pid, &mut headers).await?,
    };
    let mut request = client(policy).await?.request(method, url).headers(headers);
    if let Some(body) = body {
        request = request.body(Body::wrap_stream(pieces(body)));
    }
    Ok(request.send().await.map_err(|error| failed(&error))?)
}

/// Where a program of the sandbox's is asked what a URL says, whichever host and scheme that has.
async fn of_program(url: &str, pid: u32, headers: &mut HeaderMap) -> Result<Url, Failure> {
    let no_url = || Error::type_error(format!("{url:?} is no URL"));
    let mut url = Url::parse(url).map_err(|_| no_url())?;
    let port = deno::port(pid).await?;
    let port =
        port.ok_or_else(|| Error::type_error(format!("process {pid} listens on no port")))?;
    let host = HeaderValue::try_from(url.authority()).map_err(|_| no_url())?;
    headers.entry(HOST).or_insert(host);
    let set = url.set_scheme("http").is_ok()
        && url.set_host(Some("127.0.0.1")).is_ok()
        && url.set_port(Some(port)).is_ok();
    set.then_some(url).ok_or_else(|| no_url().into())
}

/// A client of one request. It is not kept: a sandbox that is restored from a snapshot has another certificate authority, and
/// connections of before lead nowhere.
async fn client(policy: Policy) -> Result<Client, Failure> {
    let tls = blocking(tls).await?;
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("Thaw/", env!("CARGO_PKG_VERSION")))
        .redirect(policy)
        .build();
    Ok(client.map_err(|error| failed(&error))?)
}

/// Trusts whom the sandbox's system trusts, or what `SSL_CERT_FILE` names.
fn tls() -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new("Error", error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let read = HeaderName::try_from(name)
            .ok()
            .zip(HeaderValue::try_from(value).ok());
        let (key, value) = read.ok_or_else(|| {
            Error::type_error(format!("{name:?} is no header, or its value none"))
        })?;
        headers.append(key, value);
    }
    Ok(headers)
}

fn pieces(body: Reader) -> impl futures::Stream<Item = std::io::Result<bytes::Bytes>> {
    stream::unfold(body, async |mut body| {
        let piece = body.next().await?;
        let piece = piece.map_err(|error| std::io::Error::other(error.message));
        Some((piece, body))
    })
}

fn head(response: &Response) -> Value {
    let status = response.status();
    let headers: Vec<_> = response.headers().iter().map(text).collect();
    json!({
        "status": status.as_u16(),
        "statusText": status.canonical_reason().unwrap_or_default(),
        "headers": headers,
    })
}

fn with_body(mut head: Value, stream: Option<u64>) -> Value {
    if let Some(head) = head.as_object_mut() {
        head.insert("bodyStreamId".to_owned(), json!(stream));
    }
    head
}

/// A header's bytes are Latin-1 to the Fetch standard ("isomorphic decode").
fn text((name, value): (&HeaderName, &HeaderValue)) -> (String, String) {
    let value = value.as_bytes().iter().map(|byte| char::from(*byte));
    (name.to_string(), value.collect())
}

/// What is no "null body status" (Fetch): a `Response` of JavaScript's takes a body with no other.
fn has_body(status: StatusCode) -> bool {
    !matches!(status.as_u16(), 101 | 103 | 204 | 205 | 304)
}

/// Passes a body on until it ends, or nobody wants more of it.
async fn pass(response: Response, writer: Writer, aborted: CancellationToken) {
    writer.start().await;
    let mut body = response.bytes_stream();
    loop {
        let piece = tokio::select! {
            () = writer.cancelled.cancelled() => return,
            () = aborted.cancelled() => return writer.fail(&Error::aborted()).await,
            piece = body.next() => piece,
        };
        match piece {
            Some(Ok(bytes)) => writer.send(&bytes).await,
            Some(Err(error)) => return writer.fail(&failed(&error)).await,
            None => return writer.end().await,
        }
    }
}

/// As `fetch` fails: a `TypeError`, in words all the way down.
fn failed(error: &reqwest::Error) -> Error {
    let mut text = error.to_string();
    let mut inner = std::error::Error::source(error);
    while let Some(cause) = inner {
        text = format!("{text}: {cause}");
        inner = cause.source();
    }
    Error::type_error(text)
}
