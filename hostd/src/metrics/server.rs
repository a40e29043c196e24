//! `GET /metrics`.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::figures::Figures;
use crate::http::Listener;
use crate::sandboxes::Sandboxes;

/// Connections at a time: a few scrapers.
const CONNECTIONS: usize = 16;
/// What OpenMetrics text is called.
const TEXT: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Serves them until hostd is to end.
pub async fn serve(listener: Listener, sandboxes: Sandboxes) {
    let stopping = sandboxes.services().stopping.clone();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Figures(sandboxes)));
    let registry = Arc::new(registry);
    let service = service_fn(move |request| {
        let response = answer(&request, &registry);
        async move { Ok::<_, Infallible>(response) }
    });
    listener.serve(CONNECTIONS, stopping, service).await;
}

fn answer(request: &Request<Incoming>, registry: &Registry) -> Response<Full<Bytes>> {
    let mut text = String::new();
    let mut response = Response::default();
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => match encode(&mut text, registry) {
            Ok(()) => drop(response.headers_mut().insert(CONTENT_TYPE, TEXT)),
            Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        },
        (_, "/metrics") => {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            let methods = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, methods);
        }
        _ => {
            *response.status_mut() = StatusCode::NOT_FOUND;
            text.push_str("figures are at /metrics\n");
        }
    }
    *response.body_mut() = Full::from(text);
    response
}
