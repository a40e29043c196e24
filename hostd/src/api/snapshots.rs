//! Snapshots.

use ::snapshots::store::Listing;
use prost::Message;
use protocol::hostd::v1::snapshots_server::Snapshots;
use protocol::hostd::v1::{
    CreateSnapshotRequest, DeleteSnapshotRequest, DeleteSnapshotResponse, GetSnapshotRequest,
    ListSnapshotsRequest, ListSnapshotsResponse, Snapshot,
};
use tonic::Request;

use super::{Response, auth, page, wire};
use crate::sandbox::snapshot::SnapshotRequest;
use crate::sandbox::spec::check_labels;
use crate::sandboxes::Sandboxes;
use crate::tenancy::Caller;

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
        let caller = auth::caller(request.extensions())?;
        let request = request.into_inner();
        let sandbox = self
            .sandboxes
            .living_one(&caller, &request.sandbox_id)
            .await?;
        let wanted = SnapshotRequest::new(
            sandbox.record().organisation.as_ref(),
            &request.name,
            request.replace,
            wire::labels(request.labels),
        )?;
        let taken = sandbox.snapshot(wanted).await?;
        Ok(tonic::Response::new(wire::snapshot(
            &caller,
            taken.manifest(),
            taken.name(),
        )))
    }

    async fn get(&self, request: Request<GetSnapshotRequest>) -> Response<Snapshot> {
        let caller = auth::caller(request.extensions())?;
        let found = self
            .sandboxes
            .services()
            .store
            .find(&caller, &request.into_inner().snapshot)
            .await?;
        Ok(tonic::Response::new(wire::snapshot(
            &caller,
            found.manifest(),
            found.name(),
        )))
    }

    async fn list(
        &self,
        request: Request<ListSnapshotsRequest>,
    ) -> Response<ListSnapshotsResponse> {
        let caller = auth::caller(request.extensions())?;
        let request = request.into_inner();
        let labels = wire::labels(request.labels);
        check_labels(&labels)?;
        let (size, after) = (
            page::size(request.page_size)?,
            page::split(&request.page_token)?,
        );
        let listing = self.sandboxes.services().store.list(&caller).await?;
        let mut all = shown(&caller, &listing);
        all.retain(|snapshot| labels.iter().all(|label| has_label(snapshot, label)));
        all.sort_by(|a, b| key(b).cmp(&key(a)));
        let start = after.map_or(0, |after| {
            all.partition_point(|snapshot| key(snapshot) >= after)
        });
        let mut bytes = 0;
        let count = all
            .iter()
            .skip(start)
            .take(size)
            .take_while(|snapshot| {
                bytes += snapshot.encoded_len();
                bytes <= MAX_PAGE_BYTES
            })
            .count();
        let end = start + count;
        let next = all
            .get(..end)
            .and_then(<[Snapshot]>::last)
            .filter(|_| end < all.len())
            .map(|last| format!("{}.{}", key(last).0, key(last).1));
        let snapshots = all.into_iter().skip(start).take(count).collect();
        Ok(tonic::Response::new(ListSnapshotsResponse {
            snapshots,
            next_page_token: next.unwrap_or_default(),
        }))
    }

    async fn delete(
        &self,
        request: Request<DeleteSnapshotRequest>,
    ) -> Response<DeleteSnapshotResponse> {
        let caller = auth::caller(request.extensions())?;
        let services = self.sandboxes.services();
        services
            .delete_snapshot(&caller, &request.into_inner().snapshot)
            .await?;
        Ok(tonic::Response::new(DeleteSnapshotResponse {}))
    }
}

/// The usable snapshots as they are, the damaged ones by their ids.
fn shown(caller: &Caller, listing: &Listing) -> Vec<Snapshot> {
    let usable = listing.entries.iter();
    let usable = usable.map(|entry| wire::snapshot(caller, &entry.manifest, entry.name.as_ref()));
    let damaged = listing.damaged.iter();
    let damaged = damaged.map(|(id, _)| wire::damaged_snapshot(id));
    usable.chain(damaged).collect()
}

fn has_label(snapshot: &Snapshot, (key, value): (&String, &String)) -> bool {
    snapshot.labels.get(key) == Some(value)
}

/// What snapshots are ordered by: when they were taken, in milliseconds since 1970, then their ids.
fn key(snapshot: &Snapshot) -> (i64, &str) {
    let created = snapshot.created_at.as_ref().map_or(0, |at| {
        let millis = i64::from(at.nanos / 1_000_000);
        at.seconds.saturating_mul(1000).saturating_add(millis)
    });
    (created, &snapshot.id)
}
