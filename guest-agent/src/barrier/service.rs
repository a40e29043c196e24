//! `thaw.agent.v1.Agent`: the wire side of the barrier.

use std::sync::Arc;
use std::time::Duration;

use protocol::agent::v1 as wire;
use tonic::{Request, Response, Status};

use super::Barrier;
use crate::status::task_lost;

/// How long the answer to PowerOff has to leave before the machine goes.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// The Agent service.
pub struct AgentService {
    barrier: Arc<Barrier>,
}

impl AgentService {
    /// Serves this barrier.
    pub fn new(barrier: Arc<Barrier>) -> Self {
        Self { barrier }
    }
}

#[tonic::async_trait]
impl wire::agent_server::Agent for AgentService {
    async fn hello(
        &self,
        _request: Request<wire::HelloRequest>,
    ) -> Result<Response<wire::HelloResponse>, Status> {
        let view = self.barrier.view();
        Ok(Response::new(wire::HelloResponse {
            agent_version: crate::agent::VERSION.to_owned(),
            kernel_release: kernel_release(),
            boot_id: boot_id(),
            epoch: view
                .epoch
                .map(|epoch| epoch.to_string())
                .unwrap_or_default(),
            frozen: view.frozen,
        }))
    }

    async fn freeze(
        &self,
        _request: Request<wire::FreezeRequest>,
    ) -> Result<Response<wire::FreezeResponse>, Status> {
        let frozen_processes = self.barrier.freeze().await?;
        Ok(Response::new(wire::FreezeResponse { frozen_processes }))
    }

    async fn enter(
        &self,
        request: Request<wire::EnterRequest>,
    ) -> Result<Response<wire::EnterResponse>, Status> {
        let request = super::EnterRequest::try_from(request.into_inner())?;
        let epoch = request.epoch.to_string();
        let clock_step_ns = self.barrier.enter(request).await?;
        Ok(Response::new(wire::EnterResponse {
            epoch,
            clock_step_ns,
        }))
    }

    async fn power_off(
        &self,
        _request: Request<wire::PowerOffRequest>,
    ) -> Result<Response<wire::PowerOffResponse>, Status> {
        drop(self.barrier.admit()?);
        let machine = self.barrier.machine().clone();
        tokio::spawn(async move {
            tokio::time::sleep(LAST_WORDS).await;
            if let Err(error) = machine.power_off() {
                tracing::error!(%error, "power off");
            }
        });
        Ok(Response::new(wire::PowerOffResponse {}))
    }

    async fn stats(
        &self,
        _request: Request<wire::StatsRequest>,
    ) -> Result<Response<wire::StatsResponse>, Status> {
        drop(self.barrier.admit()?);
        let machine = self.barrier.machine().clone();
        let stats = tokio::task::spawn_blocking(move || machine.stats()).await;
        let stats = stats.map_err(|_| task_lost())?;
        Ok(Response::new(wire::StatsResponse {
            agent_pss_bytes: stats.agent_pss_bytes,
            memory_total_bytes: stats.memory_total_bytes,
            memory_available_bytes: stats.memory_available_bytes,
            processes: stats.processes,
        }))
    }
}

fn kernel_release() -> String {
    nix::sys::utsname::uname()
        .map(|uname| uname.release().to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}
