//! Networks.

use std::sync::Arc;

use egress::audit::{Event, Subscription};
use futures::stream;
use protocol::hostd::v1 as wire;
use protocol::hostd::v1::networks_server::Networks as Service;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use super::network::{self, Opener};
use super::{Answers, Response, auth};
use crate::error::{Error, Result};
use crate::network::Attachment;
use crate::sandboxes::Sandboxes;
use crate::tenancy::Caller;

/// The service.
#[derive(Clone, Debug)]
pub struct NetworksApi {
    /// All sandboxes.
    pub sandboxes: Sandboxes,
}

#[tonic::async_trait]
impl Service for NetworksApi {
    type WatchStream = Answers<wire::NetworkDecision>;

    async fn get(
        &self,
        request: Request<wire::GetNetworkRequest>,
    ) -> Response<wire::NetworkStatus> {
        let caller = auth::caller(request.extensions())?;
        let id = request.into_inner().sandbox_id;
        let attachment = self.attachment(&caller, &id).await?;
        Ok(status(&id, &attachment))
    }

    async fn set_policy(
        &self,
        request: Request<wire::SetPolicyRequest>,
    ) -> Response<wire::NetworkStatus> {
        let caller = auth::caller(request.extensions())?;
        let request = request.into_inner();
        let policy = network::policy(request.policy.unwrap_or_default());
        let attachment = self.attachment(&caller, &request.sandbox_id).await?;
        attachment.set_policy(policy)?;
        Ok(status(&request.sandbox_id, &attachment))
    }

    async fn put_secrets(
        &self,
        request: Request<wire::PutSecretsRequest>,
    ) -> Response<wire::NetworkStatus> {
        let caller = auth::caller(request.extensions())?;
        let request = request.into_inner();
        let attachment = self.attachment(&caller, &request.sandbox_id).await?;
        let opener = Opener {
            key: &self.sandboxes.services().sealing_key,
            caller: &caller,
        };
        attachment.put_secrets(&network::secrets(request.secrets, opener)?)?;
        Ok(status(&request.sandbox_id, &attachment))
    }

    async fn remove_secret(
        &self,
        request: Request<wire::RemoveSecretRequest>,
    ) -> Response<wire::NetworkStatus> {
        let caller = auth::caller(request.extensions())?;
        let request = request.into_inner();
        let attachment = self.attachment(&caller, &request.sandbox_id).await?;
        attachment.remove_secret(&request.name)?;
        Ok(status(&request.sandbox_id, &attachment))
    }

    async fn get_sealing_key(
        &self,
        request: Request<wire::GetSealingKeyRequest>,
    ) -> Response<wire::SealingKey> {
        let caller = auth::caller(request.extensions())?;
        let organisation = caller.organisation().map(ToString::to_string);
        Ok(tonic::Response::new(wire::SealingKey {
            public_key: self.sandboxes.services().sealing_key.public().to_string(),
            organisation: organisation.unwrap_or_default(),
        }))
    }

    async fn watch(
        &self,
        request: Request<wire::WatchNetworkRequest>,
    ) -> Response<Self::WatchStream> {
        let caller = auth::caller(request.extensions())?;
        let wanted = request.into_inner().sandbox_id;
        let services = self.sandboxes.services();
        let decisions = match wanted.as_str() {
            "" => {
                // Decisions name a sandbox, but not whose it is.
                caller.must_be_operator()?;
                let networks = services.networks.as_ref();
                let networks = networks.ok_or(Error::NetworkUnavailable)?;
                networks.decisions().subscribe()
            }
            id => self.attachment(&caller, id).await?.decisions(),
        };
        let watcher = Watcher {
            decisions,
            all_ended: services.all_ended.clone(),
            over: false,
        };
        Ok(tonic::Response::new(watcher.stream()))
    }
}

impl NetworksApi {
    async fn attachment(&self, caller: &Caller, id: &str) -> Result<Arc<Attachment>> {
        let sandbox = self.sandboxes.living_one(caller, id).await?;
        sandbox.network().cloned().ok_or(Error::NetworkUnavailable)
    }
}

fn status(id: &str, attachment: &Attachment) -> tonic::Response<wire::NetworkStatus> {
    tonic::Response::new(network::status(id, attachment))
}

/// Turns decisions into one client's stream.
struct Watcher {
    decisions: Subscription,
    all_ended: CancellationToken,
    over: bool,
}

impl Watcher {
    fn stream(self) -> Answers<wire::NetworkDecision> {
        Box::pin(stream::unfold(self, |mut watcher| async move {
            watcher.next().await.map(|item| (item, watcher))
        }))
    }

    async fn next(&mut self) -> Option<Result<wire::NetworkDecision, Status>> {
        if self.over {
            return None;
        }
        let event = tokio::select! {
            biased;
            event = self.decisions.next() => event?,
            () = self.all_ended.cancelled() => return None,
        };
        Some(match event {
            Event::Decision(decision) => Ok(network::decision(&decision)),
            Event::Lost(count) => {
                self.over = true;
                Err(Error::WatchLagged(count).into())
            }
        })
    }
}
