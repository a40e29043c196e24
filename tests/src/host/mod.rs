//! A private hostd.

mod footprint;
mod options;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use protocol::hostd::v1::create_sandbox_request::Source;
use protocol::hostd::v1::{
    CreateSandboxRequest, HealthRequest, KillSandboxRequest, ListSandboxesRequest, SandboxState,
};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tonic::Status;

pub use footprint::Footprint;
pub use options::HostOptions;
use options::VMM_POOL;

use crate::measure::eventually;
use crate::{Clients, Sandbox};

/// From the start of the process until it answers; it may have to measure KVM first.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// From SIGTERM to the end of the process; it ends its sandboxes first.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Failed sandboxes whose consoles a failed test shows.
const SHOWN_FAILURES: u32 = 3;
/// Lines of its log that a failed test shows.
const LOG_LINES: usize = 40;

/// A hostd with a state directory, socket and temporary directory of its own.
#[derive(Debug)]
pub struct Host {
    options: HostOptions,
    directory: TempDir,
    process: Mutex<Child>,
    pid: u32,
    clients: Clients,
    before: Footprint,
}

impl Host {
    /// Starts it and waits until it is healthy.
    pub async fn start(options: HostOptions) -> crate::Result<Arc<Self>> {
        let directory = tempfile::Builder::new().prefix("thaw-").tempdir()?;
        std::fs::create_dir(directory.path().join("tmp"))?;
        // What hostd leaves behind becomes our child, and is found.
        nix::sys::prctl::set_child_subreaper(true)?;
        Self::start_in(options, directory, Footprint::outside()).await
    }

    async fn start_in(
        options: HostOptions,
        directory: TempDir,
        before: Footprint,
    ) -> crate::Result<Arc<Self>> {
        let socket = directory.path().join("hostd.sock");
        let log = File::options()
            .append(true)
            .create(true)
            .open(directory.path().join("log"))?;
        let mut process = Command::new(&options.hostd)
            .args(options.arguments(directory.path(), &socket))
            .env("TMPDIR", directory.path().join("tmp"))
            // Where a core file would be, too.
            .current_dir(directory.path())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", options.hostd.display()))?;
        let pid = process.id().context("hostd ended at once")?;
        let clients = match ready(&mut process, &socket).await {
            Ok(clients) => clients,
            Err(error) => bail!("{error:#}\n{}", tail(&directory.path().join("log"))),
        };
        let host = Self {
            options,
            directory,
            process: Mutex::new(process),
            pid,
            clients,
            before,
        };
        // What a test compares with later is not to grow by the pool's filling.
        let full = || async { host.footprint().has_vmms(VMM_POOL) };
        ensure!(
            eventually(START_TIMEOUT, full).await,
            "its pool of vmms stays empty\n{}",
            host.log_tail()
        );
        Ok(Arc::new(host))
    }

    /// Clients on the shared connection.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Clients on a connection of their own.
    pub async fn connect(&self) -> crate::Result<Clients> {
        Clients::unix(&self.socket()).await
    }

    /// The unix socket it listens on.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("hostd.sock")
    }

    /// Its state directory.
    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// What holds its state directory, its log and its socket, and what it is started in.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has said.
    pub fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it was started.
    pub fn options(&self) -> &HostOptions {
        &self.options
    }

    /// Restores the snapshot `default`.
    pub async fn create(self: &Arc<Self>) -> crate::Result<Sandbox> {
        self.restore("default").await
    }

    /// Restores a snapshot.
    pub async fn restore(self: &Arc<Self>, snapshot: &str) -> crate::Result<Sandbox> {
        let source = Some(Source::Snapshot(snapshot.to_owned()));
        let request = CreateSandboxRequest {
            source,
            ..Default::default()
        };
        Ok(self.create_with(request).await?)
    }

    /// Boots the image `default` from cold.
    pub async fn boot(self: &Arc<Self>) -> crate::Result<Sandbox> {
        Ok(self.create_with(Self::cold_boot()).await?)
    }

    /// A request for a cold boot of the image `default`, to be changed.
    pub fn cold_boot() -> CreateSandboxRequest {
        CreateSandboxRequest {
            source: Some(Source::Image("default".to_owned())),
            ..Default::default()
        }
    }

    /// Creates a sandbox as the request says.
    pub async fn create_with(
        self: &Arc<Self>,
        request: CreateSandboxRequest,
    ) -> Result<Sandbox, Status> {
        let info = self.clients.sandboxes().create(request).await?.into_inner();
        Ok(Sandbox::new(self.clone(), info))
    }

    /// Ends every sandbox, so that the next test finds none.
    pub async fn clear(&self) -> crate::Result {
        if self.process.lock().await.try_wait()?.is_some() {
            bail!("hostd has ended");
        }
        let request = ListSandboxesRequest {
            page_size: 1000,
            ..Default::default()
        };
        let live = self.clients.sandboxes().list(request).await?.into_inner();
        for sandbox in live.sandboxes {
            let request = KillSandboxRequest {
                sandbox_id: sandbox.id,
            };
            self.clients.sandboxes().kill(request).await?;
        }
        Ok(())
    }

    /// What the sandboxes that failed most recently said last, for whoever looks for a reason.
    pub async fn failures(&self) -> String {
        let request = ListSandboxesRequest {
            page_size: SHOWN_FAILURES,
            states: vec![SandboxState::Failed.into()],
            ..Default::default()
        };
        let Ok(list) = self.clients.sandboxes().list(request).await else {
            return String::new();
        };
        let failed = list.into_inner().sandboxes.into_iter();
        let said = failed.filter_map(|sandbox| {
            let failure = sandbox.failure?;
            let (reason, console) = (failure.reason, failure.console_tail);
            Some(format!(
                "{} {reason}: {}\n{console}",
                sandbox.id, failure.message
            ))
        });
        said.collect::<Vec<_>>().join("\n")
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        tail(&self.directory.path().join("log"))
    }

    /// What it has at the moment.
    pub fn footprint(&self) -> Footprint {
        Footprint::of(self.pid, &self.state(), &self.directory.path().join("tmp"))
    }

    /// Waits until it has no more than it had: what it ended takes a moment to be gone.
    pub async fn settles_to(&self, before: &Footprint) -> crate::Result {
        let settled = eventually(Duration::from_secs(20), async || {
            self.footprint().is_within(before)
        });
        if settled.await {
            return Ok(());
        }
        bail!("before:\n{before:#?}\nnow:\n{:#?}", self.footprint())
    }

    /// Stops it as an operator would, and checks that nothing of it is left.
    pub async fn stop(&self) -> crate::Result {
        self.signal(Signal::SIGTERM)?;
        let status = self.ended().await?;
        ensure!(
            status.success(),
            "hostd ended with {status}\n{}",
            self.log_tail()
        );
        self.nothing_left().await
    }

    /// Kills it, lets it notice nothing, and waits until it is gone, and with it all that it had started.
    pub async fn kill_hard(&self) -> crate::Result {
        self.dies_of(Signal::SIGKILL).await.map(drop)
    }

    /// The same with another signal; says how it ended.
    pub async fn dies_of(&self, signal: Signal) -> crate::Result<ExitStatus> {
        self.signal(signal)?;
        let status = self.ended().await?;
        let alone = eventually(Duration::from_secs(5), async || {
            Footprint::outside().runs_within(&self.before)
        });
        ensure!(alone.await, "orphans: {:?}", Footprint::outside().processes);
        Ok(status)
    }

    /// Starts another one on the state directory of one that has ended. What the first one left is this
    /// one's to remove.
    pub async fn start_again(self: Arc<Self>) -> crate::Result<Arc<Self>> {
        let host = Arc::into_inner(self).context("the host is still in use")?;
        Self::start_in(host.options, host.directory, host.before).await
    }

    fn signal(&self, signal: Signal) -> crate::Result {
        Ok(kill(Pid::from_raw(self.pid.cast_signed()), signal)?)
    }

    async fn ended(&self) -> crate::Result<ExitStatus> {
        let mut process = self.process.lock().await;
        let status = tokio::time::timeout(STOP_TIMEOUT, process.wait()).await;
        Ok(status.context("hostd does not end")??)
    }

    async fn nothing_left(&self) -> crate::Result {
        let gone = eventually(Duration::from_secs(5), async || {
            Footprint::outside().is_within(&self.before)
        });
        ensure!(
            gone.await,
            "before:\n{:#?}\nnow:\n{:#?}",
            self.before,
            Footprint::outside()
        );
        let temporary = Footprint::of(0, &self.state(), &self.directory.path().join("tmp"));
        ensure!(
            temporary.files.is_empty(),
            "left behind: {:#?}",
            temporary.files
        );
        ensure!(!self.socket().exists(), "the socket is left behind");
        Ok(())
    }
}

async fn ready(process: &mut Child, socket: &Path) -> crate::Result<Clients> {
    let mut last = String::from("nothing tried");
    let deadline = tokio::time::Instant::now() + START_TIMEOUT;
    while tokio::time::Instant::now() < deadline {
        if let Some(status) = process.try_wait()? {
            bail!("hostd ended with {status}");
        }
        match healthy(socket).await {
            Ok(clients) => return Ok(clients),
            Err(error) => last = format!("{error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("hostd is not ready after {START_TIMEOUT:?}: {last}")
}

async fn healthy(socket: &Path) -> crate::Result<Clients> {
    let clients = Clients::unix(socket).await?;
    let health = clients.host().health(HealthRequest {}).await?.into_inner();
    ensure!(health.serving, "not serving: {}", health.message);
    Ok(clients)
}

/// The end of a log.
pub(crate) fn tail(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}
