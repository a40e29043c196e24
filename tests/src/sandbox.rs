//! A sandbox, in the words of a test.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use protocol::hostd::v1::{
    CreateSnapshotRequest, GetSandboxRequest, KillSandboxRequest, PauseSandboxRequest,
    ResumeSandboxRequest, Sandbox as Info, SandboxState, SandboxStatsRequest, SandboxStatsResponse,
    Snapshot, SpawnRequest,
};
use protocol::types::v1::{ProcessInfo, ProcessSpec};
use tonic::Status;

use crate::Host;
use crate::process::{Output, Process, shell};

/// A sandbox of a [`Host`].
#[derive(Clone, Debug)]
pub struct Sandbox {
    host: Arc<Host>,
    info: Info,
}

impl Sandbox {
    pub(crate) fn new(host: Arc<Host>, info: Info) -> Self {
        Self { host, info }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.info.id
    }

    /// What Create answered.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// What it is now.
    pub async fn get(&self) -> Result<Info, Status> {
        let request = GetSandboxRequest {
            sandbox_id: self.id().to_owned(),
        };
        Ok(self
            .host
            .clients()
            .sandboxes()
            .get(request)
            .await?
            .into_inner())
    }

    /// Waits until it is in this state.
    pub async fn becomes(&self, state: SandboxState, limit: Duration) -> crate::Result<Info> {
        let end = tokio::time::Instant::now() + limit;
        loop {
            let info = self.get().await?;
            if info.state() == state {
                return Ok(info);
            }
            if tokio::time::Instant::now() > end {
                bail!("not {state:?} within {limit:?}: {info:#?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it.
    pub async fn kill(&self) -> Result<Info, Status> {
        let request = KillSandboxRequest {
            sandbox_id: self.id().to_owned(),
        };
        Ok(self
            .host
            .clients()
            .sandboxes()
            .kill(request)
            .await?
            .into_inner())
    }

    /// Makes it stand still.
    pub async fn pause(&self) -> Result<Info, Status> {
        let request = PauseSandboxRequest {
            sandbox_id: self.id().to_owned(),
        };
        Ok(self
            .host
            .clients()
            .sandboxes()
            .pause(request)
            .await?
            .into_inner())
    }

    /// Lets it go on.
    pub async fn resume(&self) -> Result<Info, Status> {
        let request = ResumeSandboxRequest {
            sandbox_id: self.id().to_owned(),
        };
        Ok(self
            .host
            .clients()
            .sandboxes()
            .resume(request)
            .await?
            .into_inner())
    }

    /// Counters of its machine.
    pub async fn stats(&self) -> Result<SandboxStatsResponse, Status> {
        let request = SandboxStatsRequest {
            sandbox_id: self.id().to_owned(),
        };
        Ok(self
            .host
            .clients()
            .host()
            .sandbox_stats(request)
            .await?
            .into_inner())
    }

    /// Saves it under no name.
    pub async fn snapshot(&self) -> Result<Snapshot, Status> {
        let request = CreateSnapshotRequest {
            sandbox_id: self.id().to_owned(),
            ..Default::default()
        };
        Ok(self
            .host
            .clients()
            .snapshots()
            .create(request)
            .await?
            .into_inner())
    }

    /// Starts a process and attaches to it.
    pub async fn start(&self, spec: ProcessSpec) -> Result<Process, Status> {
        Process::start(self.host.clients(), self.id(), spec).await
    }

    /// Attaches to a running process.
    pub async fn attach(&self, pid: u32) -> Result<Process, Status> {
        Process::attach(self.host.clients(), self.id(), pid).await
    }

    /// Starts a process that nobody is attached to.
    pub async fn spawn(&self, spec: ProcessSpec) -> Result<ProcessInfo, Status> {
        let request = SpawnRequest {
            sandbox_id: self.id().to_owned(),
            spec: Some(spec),
        };
        Ok(self
            .host
            .clients()
            .processes()
            .spawn(request)
            .await?
            .into_inner())
    }

    /// Runs a shell line to its end.
    pub async fn shell(&self, line: &str) -> crate::Result<Output> {
        let process = self.start(shell(line)).await;
        process
            .with_context(|| format!("starting {line:?}"))?
            .output()
            .await
    }

    /// What a shell line that ends well prints, trimmed.
    pub async fn says(&self, line: &str) -> crate::Result<String> {
        self.shell(line)
            .await?
            .text()
            .with_context(|| line.to_owned())
    }
}
