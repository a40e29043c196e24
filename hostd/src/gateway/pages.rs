//! Lists in pages, as both SDKs read them: an array, and a header that says where it goes on.

use std::collections::HashMap;

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use super::error::ApiError;
use crate::api::page;

/// The region of all things, as the ids of sandboxes say: there is one host.
pub(super) const REGION: &str = "loc";

/// How many a client wants.
pub(super) fn size(query: &HashMap<String, String>) -> Result<usize, ApiError> {
    // The JavaScript SDK's lists of sandboxes know no pages.
    let limit = query.get("limit");
    let limit = limit.map_or(Ok(page::MAX_SIZE), |limit| limit.parse());
    let limit = limit.map_err(|_| ApiError::invalid("limit: is no number"))?;
    Ok(page::size(limit)?)
}

/// A page, and what is asked for to get the next one.
pub(super) fn answer(
    page: Vec<Value>,
    uri: &Uri,
    query: &HashMap<String, String>,
    next: Option<String>,
) -> Response {
    let mut headers = HeaderMap::new();
    let link = next.map(|cursor| HeaderValue::from_str(&link(uri, query, &cursor)));
    if let Some(Ok(link)) = link {
        headers.insert(header::LINK, link);
    }
    (headers, Json(page)).into_response()
}

/// `Link` (RFC 8288); the SDKs look at the cursor alone.
fn link(uri: &Uri, query: &HashMap<String, String>, cursor: &str) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for (name, value) in query.iter().filter(|(name, _)| *name != "cursor") {
        pairs.append_pair(name, value);
    }
    pairs.append_pair("cursor", cursor);
    format!(
        "<http://thaw{}?{}>; rel=\"next\"",
        uri.path(),
        pairs.finish()
    )
}
