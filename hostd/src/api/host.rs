//! The host: what it is, whether it is fit, and what one sandbox costs it.

use protocol::hostd::v1::check::Verdict as WireVerdict;
use protocol::hostd::v1::host_server::Host;
use protocol::hostd::v1::{
    Check, DoctorRequest, DoctorResponse, HealthRequest, HealthResponse, InfoRequest, InfoResponse,
    SandboxStatsRequest, SandboxStatsResponse,
};
use tonic::Request;

use super::{Response, auth};
use crate::VERSION;
use crate::error::{Context, Error, Result};
use crate::host::doctor::{self, Verdict};
use crate::host::memory;
use crate::sandboxes::Sandboxes;
use crate::vmm::memory::{Usage, usage};

/// The service.
#[derive(Clone, Debug)]
pub struct HostApi {
    /// What runs on it.
    pub sandboxes: Sandboxes,
}

#[tonic::async_trait]
impl Host for HostApi {
    async fn info(&self, request: Request<InfoRequest>) -> Response<InfoResponse> {
        let caller = auth::caller(request.extensions())?;
        let services = self.sandboxes.services();
        let images = services.images.clone();
        let (images, hostd_pss_bytes) =
            blocking(move || (images.all().into_keys().collect(), memory::own_pss_bytes())).await?;
        let facts = &services.facts;
        Ok(tonic::Response::new(InfoResponse {
            version: VERSION.to_owned(),
            kernel_release: facts.kernel_release.clone(),
            cpus: facts.cpus,
            memory_bytes: facts.memory_bytes,
            cpu_model: facts.cpu_model.clone(),
            sandboxes_running: u32::try_from(self.sandboxes.running(&caller)).unwrap_or(u32::MAX),
            images,
            hostd_pss_bytes,
        }))
    }

    async fn health(&self, _: Request<HealthRequest>) -> Response<HealthResponse> {
        let serving = !self.sandboxes.services().stopping.is_cancelled();
        let message = if serving { "serving" } else { "shutting down" };
        Ok(tonic::Response::new(HealthResponse {
            serving,
            message: message.into(),
        }))
    }

    async fn doctor(&self, _: Request<DoctorRequest>) -> Response<DoctorResponse> {
        let checks = doctor::examine(self.sandboxes.services()).await;
        let healthy = checks.iter().all(|check| check.verdict != Verdict::Failed);
        Ok(tonic::Response::new(DoctorResponse {
            healthy,
            checks: checks.into_iter().map(Check::from).collect(),
        }))
    }

    async fn sandbox_stats(
        &self,
        request: Request<SandboxStatsRequest>,
    ) -> Response<SandboxStatsResponse> {
        let caller = auth::caller(request.extensions())?;
        let sandbox = self
            .sandboxes
            .living_one(&caller, &request.into_inner().sandbox_id)
            .await?;
        let figures = sandbox.figures().await?;
        let pid = figures.vmm_pid;
        let memory: Usage = blocking(move || usage(pid))
            .await?
            .doing(|| "reading the vmm's memory map".into())?;
        // Of a paused guest nothing is known.
        let guest = match sandbox.agent().await {
            Ok(agent) => agent.figures().await?,
            Err(Error::NotRunning { .. }) => Default::default(),
            Err(error) => return Err(error.into()),
        };
        Ok(tonic::Response::new(SandboxStatsResponse {
            vm_exits: figures.counters.exits,
            kvm: figures.counters.kvm.into_iter().collect(),
            vmm_pss_bytes: memory.own_pss,
            guest_private_bytes: memory.guest_private,
            guest_shared_bytes: memory.guest_shared,
            agent_pss_bytes: guest.agent_pss,
            vmm_pid: u32::try_from(pid).unwrap_or(0),
        }))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::host("asking the kernel", &error))
}

impl From<doctor::Check> for Check {
    fn from(check: doctor::Check) -> Self {
        let verdict = match check.verdict {
            Verdict::Ok => WireVerdict::Ok,
            Verdict::Warning => WireVerdict::Warning,
            Verdict::Failed => WireVerdict::Failed,
        };
        Self {
            requirement: check.requirement.to_owned(),
            verdict: verdict.into(),
            found: check.found,
            remedy: check.remedy,
        }
    }
}
