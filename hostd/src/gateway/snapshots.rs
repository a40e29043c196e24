//! Snapshots.

use std::collections::HashMap;

use ::snapshots::SnapshotName;
use ::snapshots::manifest::Manifest;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::error::ApiError;
use super::pages::{self, REGION};
use super::server::Gateway;
use crate::tenancy::{Caller, Scope};

/// One of them, by id or name, which is called a slug here.
pub(super) async fn get(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.may(Scope::Read)?;
    let services = gateway.sandboxes.services();
    let found = services.store.find(&caller, &reference).await?;
    Ok(Json(shown(&caller, found.manifest(), found.name())))
}

/// A page of those that the caller may use, newest first.
pub(super) async fn list(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, ApiError> {
    caller.may(Scope::Read)?;
    let size = pages::size(&query)?;
    let listing = gateway.sandboxes.services().store.list(&caller).await?;
    let searched = query.get("search").map_or("", String::as_str);
    // Ids are of chance: parts of words are found in names alone.
    let found = |manifest: &Manifest, name: Option<&SnapshotName>| {
        searched.is_empty()
            || manifest.id.as_str() == searched
            || name.is_some_and(|name| name.as_str().contains(searched))
    };
    let mut entries = listing.entries;
    entries.retain(|entry| found(&entry.manifest, entry.name.as_ref()));
    // By id, which is by the time of the request: the last one given may be gone meanwhile.
    entries.sort_by(|one, other| other.manifest.id.cmp(&one.manifest.id));
    if let Some(after) = query.get("cursor") {
        entries.retain(|entry| entry.manifest.id.as_str() < after.as_str());
    }
    let mut entries = entries.iter().peekable();
    let page: Vec<_> = entries.by_ref().take(size).collect();
    let more = entries.peek().is_some();
    let last = page.last().filter(|_| more);
    let next = last.map(|entry| entry.manifest.id.to_string());
    let shown = page
        .into_iter()
        .map(|entry| shown(&caller, &entry.manifest, entry.name.as_ref()));
    Ok(pages::answer(shown.collect(), &uri, &query, next))
}

/// Deletes one of the caller's.
pub(super) async fn delete(
    State(gateway): State<Gateway>,
    Extension(caller): Extension<Caller>,
    Path(reference): Path<String>,
) -> Result<StatusCode, ApiError> {
    caller.may(Scope::Snapshots)?;
    gateway
        .sandboxes
        .services()
        .delete_snapshot(&caller, &reference)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn shown(caller: &Caller, manifest: &Manifest, name: Option<&SnapshotName>) -> Value {
    let description = &manifest.description;
    let machine = &description.machine;
    let disks: u64 = machine.disks.iter().map(|disk| disk.bytes).sum();
    json!({
        "id": manifest.id.as_str(),
        "slug": name.map_or(manifest.id.as_str(), |name| caller.spells(name)),
        "region": REGION,
        "allocated_size": manifest.stored_bytes(),
        // Memory and all: it is a running machine that was saved.
        "flattened_size": machine.memory_bytes.saturating_add(disks),
        "is_bootable": true,
        // What it was taken of.
        "volume": {"id": description.sandbox_id, "slug": description.image.name},
        "base_snapshot": null,
    })
}
