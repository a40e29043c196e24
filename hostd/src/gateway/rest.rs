//! The calls beside the WebSocket.

use std::collections::{BTreeMap, HashMap};
use std::time::SystemTime;

use axum::extract::{Path, Query, State};
use axum::http::{Method, StatusCode, Uri};
use axum::response::Response;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::until;
use super::error::ApiError;
use super::pages::{self, REGION};
use super::server::Gateway;
use crate::api::page;
use crate::database::Filter;
use crate::sandbox::record::{Record, State as Life};
use crate::sandbox::spec::check_labels;
use crate::tenancy::{Caller, Scope};

#[derive(Deserialize)]
pub(super) struct Patch {
    stop_at_ms: u64,
}

/// Ends a sandbox, and answers when it has ended.
pub(super) async fn delete(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.may(Scope::Sandboxes)?;
    let record = gateway.sandboxes.kill(&caller, &id).await?;
    Ok(Json(shown(&record)))
}

/// Moves the end of a sandbox's time.
pub(super) async fn patch(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Json(asked): Json<Patch>,
) -> Result<Json<Value>, ApiError> {
    caller.may(Scope::Sandboxes)?;
    let timeout = until(asked.stop_at_ms)?;
    let sandbox = gateway.sandboxes.living_one(&caller, &id).await?;
    let record = sandbox.extend(timeout).await?;
    let at = record.expires_at.map_or(asked.stop_at_ms, milliseconds);
    Ok(Json(json!({"stop_at_ms": at})))
}

/// Gives a name out by which a sandbox is reached; the client tells the sandbox itself what the name leads to.
pub(super) async fn expose_http(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.may(Scope::Sandboxes)?;
    let Some(names) = &gateway.exposure.http else {
        let what = "exposing HTTP, as hostd runs without --ingress,";
        return Err(ApiError::unsupported(what));
    };
    let sandbox = gateway.sandboxes.living_one(&caller, &id).await?;
    let domain = names.of(sandbox.id()).map_err(no_randomness)?;
    Ok(Json(json!({"domain": domain})))
}

/// Gives a user name out for which a sandbox is there by SSH.
pub(super) async fn expose_ssh(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.may(Scope::Sandboxes)?;
    let Some(users) = &gateway.exposure.ssh else {
        return Err(ApiError::unsupported(
            "exposing SSH, as hostd runs without --ssh,",
        ));
    };
    let sandbox = gateway.sandboxes.living_one(&caller, &id).await?;
    let user = users.names.of(sandbox.id()).map_err(no_randomness)?;
    let host = &users.host;
    Ok(Json(
        json!({"hostname": host.name, "username": user, "port": host.port}),
    ))
}

fn no_randomness(error: getrandom::Error) -> ApiError {
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    ApiError::new(status, "INTERNAL", error.to_string())
}

/// Lists sandboxes that live, newest first. Labels are `labels[KEY]=VALUE` (JavaScript) or one text (Python).
pub(super) async fn list(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    caller.may(Scope::Read)?;
    let labels = labels(&query)?;
    check_labels(&labels)?;
    let size = pages::size(&query)?;
    let after = page::sandboxes_after(query.get("cursor").map_or("", String::as_str))?;
    let filter = Filter {
        labels,
        states: vec![Life::Creating, Life::Running, Life::Paused],
        ..Filter::default()
    };
    let page = gateway.sandboxes.list(&caller, filter, after, size).await?;
    let next = page.next.as_ref().map(page::sandboxes_token);
    let all = page.records.iter().map(shown).collect();
    Ok(pages::answer(all, &uri, &query, next))
}

fn labels(query: &HashMap<String, String>) -> Result<BTreeMap<String, String>, ApiError> {
    let mut labels = BTreeMap::new();
    for (name, value) in query {
        let key = name
            .strip_prefix("labels[")
            .and_then(|rest| rest.strip_suffix(']'));
        if let Some(key) = key {
            labels.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(text) = query.get("labels") {
        // As Python prints a dictionary, which is what its HTTP client makes of one.
        let read = serde_json::from_str::<BTreeMap<String, String>>(&text.replace('\'', "\""));
        labels.extend(read.map_err(|_| ApiError::invalid("labels: are no names with values"))?);
    }
    Ok(labels)
}

fn shown(record: &Record) -> Value {
    let stopped = record.ended_at;
    let text = |at: SystemTime| humantime::format_rfc3339_millis(at).to_string();
    json!({
        "id": record.id.to_string(),
        "createdAt": text(record.created_at),
        "region": REGION,
        "status": if record.phase.has_ended() { "stopped" } else { "running" },
        "stoppedAt": stopped.map(text),
    })
}

fn milliseconds(at: SystemTime) -> u64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What belongs to Deno Deploy, or is not there yet.
pub(super) async fn unsupported(method: Method, uri: Uri) -> ApiError {
    ApiError::unsupported(&format!("{method} {}", uri.path()))
}
