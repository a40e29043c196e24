//! Sandboxes.

use std::collections::BTreeSet;

use futures::{StreamExt, stream};
use protocol::hostd::v1::sandboxes_server::Sandboxes as Service;
use protocol::hostd::v1::{
    CreateSandboxRequest, ExtendTimeoutRequest, GetSandboxRequest, KillSandboxRequest,
    ListSandboxesRequest, ListSandboxesResponse, PauseSandboxRequest, ResumeSandboxRequest,
    Sandbox, SandboxEvent, WatchRequest,
};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::network::Opener;
use super::{Answers, Response, auth, page, wire};
use crate::database::Filter;
use crate::error::{Error, Result};
use crate::id::SandboxId;
use crate::sandbox::spec::{MAX_TIMEOUT, check_labels};
use crate::sandboxes::Sandboxes;
use crate::services::Event;
use crate::tenancy::Caller;

/// The service.
#[derive(Clone, Debug)]
pub struct SandboxesApi {
    /// All of them.
    pub sandboxes: Sandboxes,
}

#[tonic::async_trait]
impl Service for SandboxesApi {
    type WatchStream = Answers<SandboxEvent>;

    async fn create(&self, request: Request<CreateSandboxRequest>) -> Response<Sandbox> {
        let caller = auth::caller(request.extensions())?;
        let opener = Opener {
            key: &self.sandboxes.services().sealing_key,
            caller: &caller,
        };
        let spec = wire::spec(request.into_inner(), opener)?;
        let record = self.sandboxes.create(&caller, spec).await?;
        Ok(tonic::Response::new(wire::sandbox(&record)))
    }

    async fn get(&self, request: Request<GetSandboxRequest>) -> Response<Sandbox> {
        let caller = auth::caller(request.extensions())?;
        let record = self
            .sandboxes
            .record(&caller, &request.into_inner().sandbox_id)
            .await?;
        Ok(tonic::Response::new(wire::sandbox(&record)))
    }

    async fn list(
        &self,
        request: Request<ListSandboxesRequest>,
    ) -> Response<ListSandboxesResponse> {
        let caller = auth::caller(request.extensions())?;
        let request = request.into_inner();
        let labels = wire::labels(request.labels);
        check_labels(&labels)?;
        // Each once, however often a client names it.
        let states: BTreeSet<i32> = request.states.into_iter().collect();
        let states = states.into_iter().map(wire::state).collect::<Result<_>>()?;
        let (size, after) = (
            page::size(request.page_size)?,
            page::sandboxes_after(&request.page_token)?,
        );
        let filter = Filter {
            labels,
            states,
            ..Filter::default()
        };
        let page = self.sandboxes.list(&caller, filter, after, size).await?;
        Ok(tonic::Response::new(ListSandboxesResponse {
            sandboxes: page.records.iter().map(wire::sandbox).collect(),
            next_page_token: page
                .next
                .as_ref()
                .map(page::sandboxes_token)
                .unwrap_or_default(),
        }))
    }

    async fn kill(&self, request: Request<KillSandboxRequest>) -> Response<Sandbox> {
        let caller = auth::caller(request.extensions())?;
        let record = self
            .sandboxes
            .kill(&caller, &request.into_inner().sandbox_id)
            .await?;
        Ok(tonic::Response::new(wire::sandbox(&record)))
    }

    async fn pause(&self, request: Request<PauseSandboxRequest>) -> Response<Sandbox> {
        let caller = auth::caller(request.extensions())?;
        let sandbox = self
            .sandboxes
            .living_one(&caller, &request.into_inner().sandbox_id)
            .await?;
        let record = sandbox.pause().await?;
        Ok(tonic::Response::new(wire::sandbox(&record)))
    }

    async fn resume(&self, request: Request<ResumeSandboxRequest>) -> Response<Sandbox> {
        let caller = auth::caller(request.extensions())?;
        let sandbox = self
            .sandboxes
            .living_one(&caller, &request.into_inner().sandbox_id)
            .await?;
        let record = sandbox.resume().await?;
        Ok(tonic::Response::new(wire::sandbox(&record)))
    }

    async fn extend_timeout(&self, request: Request<ExtendTimeoutRequest>) -> Response<Sandbox> {
        let caller = auth::caller(request.extensions())?;
        let request = request.into_inner();
        let timeout = request
            .timeout
            .ok_or_else(|| Error::invalid("timeout", "is missing"))?;
        let timeout = wire::duration("timeout", timeout)?;
        if timeout.is_zero() || timeout > MAX_TIMEOUT {
            return Err(
                Error::invalid("timeout", "must be more than nothing and at most a year").into(),
            );
        }
        let sandbox = self
            .sandboxes
            .living_one(&caller, &request.sandbox_id)
            .await?;
        let record = sandbox.extend(timeout).await?;
        Ok(tonic::Response::new(wire::sandbox(&record)))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Response<Self::WatchStream> {
        let caller = auth::caller(request.extensions())?;
        let wanted = request.into_inner().sandbox_id;
        let services = self.sandboxes.services();
        // Listens first, so that nothing happens between the present and the future.
        let watcher = Watcher {
            events: services.events.subscribe(),
            all_ended: services.all_ended.clone(),
            caller: caller.clone(),
            only: None,
            seen: None,
            over: false,
        };
        if wanted.is_empty() {
            return Ok(tonic::Response::new(watcher.stream()));
        }
        let record = self.sandboxes.record(&caller, &wanted).await?;
        let present = Event {
            time: std::time::SystemTime::now(),
            record: record.clone(),
        };
        let watcher = Watcher {
            only: Some(record.id.clone()),
            seen: Some(record.revision),
            over: record.phase.has_ended(),
            ..watcher
        };
        let present = stream::iter([Ok(event(&present))]);
        Ok(tonic::Response::new(Box::pin(
            present.chain(watcher.stream()),
        )))
    }
}

/// Turns the broadcast into one client's stream. It ends with the sandbox that is watched, or after hostd has ended all.
struct Watcher {
    events: broadcast::Receiver<Event>,
    all_ended: CancellationToken,
    caller: Caller,
    only: Option<SandboxId>,
    /// The revision of the one that is watched which the client knows already.
    seen: Option<u64>,
    over: bool,
}

impl Watcher {
    fn stream(self) -> Answers<SandboxEvent> {
        Box::pin(stream::unfold(self, |mut watcher| async move {
            watcher.next().await.map(|item| (item, watcher))
        }))
    }

    /// Events between the beginning of the watch and the look at the present are no news.
    fn wants(&self, change: &Event) -> bool {
        let is_it = |only: &SandboxId| *only == change.record.id;
        let is_new = |seen| change.record.revision > seen;
        self.caller.owns(change.record.owner())
            && self.only.as_ref().is_none_or(is_it)
            && self.seen.is_none_or(is_new)
    }

    async fn next(&mut self) -> Option<Result<SandboxEvent, Status>> {
        while !self.over {
            let received = tokio::select! {
                biased;
                received = self.events.recv() => received,
                () = self.all_ended.cancelled() => return None,
            };
            match received {
                Ok(change) if self.wants(&change) => {
                    self.over = self.only.is_some() && change.record.phase.has_ended();
                    return Some(Ok(event(&change)));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => {
                    self.over = true;
                    return Some(Err(Error::WatchLagged(lost).into()));
                }
                Err(RecvError::Closed) => return None,
            }
        }
        None
    }
}

fn event(event: &Event) -> SandboxEvent {
    SandboxEvent {
        time: Some(event.time.into()),
        sandbox: Some(wire::sandbox(&event.record)),
    }
}
