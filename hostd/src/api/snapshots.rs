//! Snapshots.

use ::snapshots::store::Entry;
use prost::Message;
use protocol::hostd::v1::snapshots_server::Snapshots;
use protocol::hostd::v1::{
    CreateSnapshotRequest, DeleteSnapshotRequest, DeleteSnapshotResponse, GetSnapshotRequest,
    ListSnapshotsRequest, ListSnapshotsResponse, Snapshot,
};
use tonic::Request;

use super::{Response, page, wire};
use crate::sandbox::snapshot::SnapshotRequest;
use crate::sandbox::spec::check_labels;
use crate::sandboxes::Sandboxes;

/// A page has to fit one message of 4 MiB; one snapshot is far shorter.
const MAX_PAGE_BYTES: usize = 2 << 20;

/// The service.
#[derive(Clone, Debug)]
pub struct SnapshotsApi {
    /// Whom they are taken of.
    pub sandboxes: Sandboxes,
}

#[tonic::async_trait]
impl Snapshots for SnapshotsApi {
    async fn create(&self, request: Request<CreateSnapshotRequest>) -> Response<Snapshot> {
        let request = request.into_inner();
        let wanted =
            SnapshotRequest::new(&request.name, request.replace, wire::labels(request.labels))?;
        let sandbox = self.sandboxes.living_one(&request.sandbox_id).await?;
        let taken = sandbox.snapshot(wanted).await?;
        Ok(tonic::Response::new(wire::snapshot(
            taken.manifest(),
            taken.name(),
        )))
    }

    async fn get(&self, request: Request<GetSnapshotRequest>) -> Response<Snapshot> {
        let found = self
            .sandboxes
            .services()
            .store
            .find(&request.into_inner().snapshot)
            .await?;
        Ok(tonic::Response::new(wire::snapshot(
            found.manifest(),
            found.name(),
        )))
    }

    async fn list(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Response<ListSnapshotsResponse> {
        let request = request.into_inner();
        let labels = wire::labels(request.labels);
        check_labels(&labels)?;
        let (size, after) = (
            page::size(request.page_size)?,
            page::split(&request.page_token)?,
        );
        let mut entries = self.sandboxes.services().store.list().await?;
        entries.retain(|entry| {
            labels
                .iter()
                .all(|(key, value)| entry.manifest.description.labels.get(key) == Some(value))
        });
        entries.sort_by(|a, b| key(b).cmp(&key(a)));
        let start = after.map_or(0, |after| {
            entries.partition_point(|entry| key(entry) >= after)
        });
        let rest = entries.iter().skip(start).take(size);
        let mut bytes = 0;
        let snapshots: Vec<Snapshot> = rest
            .map(|entry| wire::snapshot(&entry.manifest, entry.name.as_ref()))
            .take_while(|snapshot| {
                bytes += snapshot.encoded_len();
                bytes <= MAX_PAGE_BYTES
            })
            .collect();
        let end = start + snapshots.len();
        let last = entries.get(..end).and_then(<[Entry]>::last);
        let next = last
            .filter(|_| end < entries.len())
            .map(|last| format!("{}.{}", key(last).0, key(last).1));
        Ok(tonic::Response::new(ListSnapshotsResponse {
            snapshots,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn delete(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Response<DeleteSnapshotResponse> {
        let services = self.sandboxes.services();
        let id = services
            .store
            .delete(&request.into_inner().snapshot)
            .await?;
        services.templates.forget(id.as_str());
        Ok(tonic::Response::new(DeleteSnapshotResponse {}))
    }
}

/// What snapshots are ordered by: when they were taken, in milliseconds since 1970, then their ids.
fn key(entry: &Entry) -> (i64, &str) {
    let created = i64::try_from(entry.manifest.description.created_at_unix_ms).unwrap_or(i64::MAX);
    (created, entry.manifest.id.as_str())
}
