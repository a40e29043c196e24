//! A guest's request as the upstream gets it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri, Version, request};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};

use super::begun::Begun;
use super::body::Body;
use super::limits;
use super::problem::Problem;
use super::protocol::Protocol;
use super::record::Record;
use super::rewriting::{BodyPlan, Rewriting};
use super::session::{Common, Opened};
use crate::hop;
use crate::policy::Target;
use crate::rewrite::Transform;

/// Addresses a request to its target, in one spelling and in the form of the protocol, and drops what speaks
/// of the guest's connection only.
pub(super) fn address(
    head: &mut request::Parts,
    target: &Target,
    opened: &Opened,
    protocol: Protocol,
) -> Result<(), Problem> {
    hop::strip(&mut head.headers);
    if protocol == Protocol::Http1 && is_addressed(head, target, opened) {
        return Ok(());
    }
    let default_port = if opened.secure() { 443 } else { 80 };
    let name = host_text(target, default_port);
    let path = head
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(path);
    head.headers.remove(HOST);
    match protocol {
        Protocol::Http1 => {
            let value = HeaderValue::from_str(&name)
                .map_err(|_| Problem::BadHost("it is no header's value"))?;
            head.headers.insert(HOST, value);
            head.version = Version::HTTP_11;
        }
        Protocol::Http2 => {
            uri.scheme = Some(if opened.secure() {
                Scheme::HTTPS
            } else {
                Scheme::HTTP
            });
            uri.authority = Some(
                Authority::try_from(name).map_err(|_| Problem::BadHost("it is no authority"))?,
            );
            head.version = Version::HTTP_2;
        }
    }
    head.uri = Uri::from_parts(uri).map_err(|_| Problem::BadHost("its path is none"))?;
    Ok(())
}

/// Whether a head is what [`address`] would make of it, as most are.
fn is_addressed(head: &request::Parts, target: &Target, opened: &Opened) -> bool {
    let default_port = if opened.secure() { 443 } else { 80 };
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next().map(HeaderValue::as_bytes);
    let name = target.host_name().map(|name| name.as_str().as_bytes());
    head.version == Version::HTTP_11
        && head.uri.authority().is_none()
        && head.uri.path().starts_with('/')
        && target.port == default_port
        && host.is_some()
        && host == name
        && hosts.next().is_none()
}

/// `host`, or `host:port` where the scheme would have another one.
fn host_text(target: &Target, default_port: u16) -> String {
    let text = target.to_string();
    let default = format!(":{default_port}");
    text.strip_suffix(&default)
        .map(str::to_owned)
        .unwrap_or(text)
}

/// Rewrites the body and makes the request.
pub(super) async fn request(
    mut head: request::Parts,
    incoming: Incoming,
    plan: BodyPlan,
    rewriting: &mut Rewriting,
    common: &Common,
    record: &mut Record,
) -> Result<Box<Request<Body>>, Problem> {
    let BodyPlan { transform, signing } = plan;
    let read = signing
        .as_ref()
        .is_some_and(|signing| signing.reads_body(transform.is_some()));
    // What few requests need is boxed: each request's future has room for all that is awaited in it.
    let (body, signed) = match transform {
        _ if incoming.is_end_stream() => (Body::whole(Bytes::new()), Some(Bytes::new())),
        transform if read => {
            let gathered = gathered(&mut head, incoming, transform, common);
            let (body, signed) = Box::pin(gathered).await?;
            (body, Some(signed))
        }
        None => (Body::stream(Begun::of(incoming, None).await), None),
        Some(transform) => {
            let rewritten = rewritten(&mut head, incoming, transform);
            (Box::pin(rewritten).await?, None)
        }
    };
    if let Some(signing) = signing {
        rewriting.sign(&mut head, signing, signed.as_deref().filter(|_| read))?;
    }
    record.count_secrets();
    // From here on it is handed from one to the next.
    let body = body.metered(record.up.clone());
    Ok(Box::new(Request::from_parts(head, body)))
}

/// A body of which a signature is made, and the bytes of it.
async fn gathered(
    head: &mut request::Parts,
    incoming: Incoming,
    transform: Option<Box<dyn Transform>>,
    common: &Common,
) -> Result<(Body, Bytes), Problem> {
    let long = |length: u64| length > limits::SIGNED_BODY as u64;
    if incoming.size_hint().exact().is_some_and(long) {
        return Err(Problem::TooLongToSign);
    }
    let place = Arc::clone(&common.signing).try_acquire_owned();
    let place = place.map_err(|_| Problem::TooManyToSign)?;
    let body = Body::stream(Begun::of(incoming, None).await).transformed(transform);
    let bytes = gather(body, limits::SIGNED_BODY, Problem::TooLongToSign).await?;
    head.headers
        .insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    Ok((Body::whole(bytes.clone()).keeping(Box::new(place)), bytes))
}

/// A body that gets another length: gathered when it is short and said so, for servers that want a length.
async fn rewritten(
    head: &mut request::Parts,
    incoming: Incoming,
    transform: Box<dyn Transform>,
) -> Result<Body, Problem> {
    let said = head.headers.remove(CONTENT_LENGTH).is_some();
    let short = incoming
        .size_hint()
        .exact()
        .is_some_and(|length| length <= limits::GATHERED_BODY);
    let body = Body::stream(Begun::of(incoming, None).await).transformed(Some(transform));
    if !said || !short {
        return Ok(body);
    }
    let most = limits::GATHERED_BODY as usize * limits::GROWTH;
    let whole = gather(body, most, Problem::BodyTooLong).await?;
    head.headers
        .insert(CONTENT_LENGTH, HeaderValue::from(whole.len()));
    Ok(Body::whole(whole))
}

async fn gather(body: Body, most: usize, longer: Problem) -> Result<Bytes, Problem> {
    let gathered = Limited::new(body, most).collect().await;
    match gathered {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(longer),
        Err(_) => Err(Problem::ClientBody),
    }
}
