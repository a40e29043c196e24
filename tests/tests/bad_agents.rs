//! Guests whose agent never starts, says nothing, or says what no agent says.
#![allow(missing_docs)]

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use protocol::hostd::v1::CreateSandboxRequest;
use protocol::hostd::v1::create_sandbox_request::Source;
use tempfile::TempDir;
use tests::host::HostOptions;
use tests::products::Products;
use tests::refusal::expect;
use tests::variants::image;
use tests::{Host, Result, procfs, suite};
use tonic::{Code, Status};

suite!(
    an_agent_that_never_starts,
    an_agent_that_never_speaks,
    an_agent_that_talks_garbage,
    an_agent_that_never_stops_talking,
    an_agent_whose_answer_is_huge,
    an_agent_of_another_epoch,
    a_kernel_without_init,
);

/// Enough for the guest to come up, and then it is late.
const BOOT_TIMEOUT: Duration = Duration::from_secs(30);
/// hostd has to give up by itself: this is for when it does not.
const SLACK: Duration = Duration::from_secs(30);
/// What hostd may grow by while a guest talks and talks.
const GROWTH: u64 = 32 << 20;

/// A host with the image whose agent misbehaves.
struct Stage {
    host: Arc<Host>,
    _images: TempDir,
}

impl Stage {
    async fn new() -> Result<Self> {
        let products = Products::find()?;
        let images = tempfile::tempdir()?;
        let agent = products.binary("fake-agent")?;
        image::with_agent(&products.images.join("default"), &agent, images.path())?;
        let mut options = HostOptions::new(products)?;
        options.images.push(images.path().to_owned());
        Ok(Self {
            host: Host::start(options).await?,
            _images: images,
        })
    }

    /// Tries to boot it; gives hostd's refusal, after which nothing may be left.
    async fn refusal(&self, mode: &str) -> Result<Status> {
        let request = CreateSandboxRequest {
            source: Some(Source::Image(image::NAME.to_owned())),
            boot_timeout: Some(prost_types::Duration::try_from(BOOT_TIMEOUT)?),
            extra_cmdline: format!("fake_agent={mode}"),
            ..Default::default()
        };
        let before = self.host.footprint();
        let memory = procfs::pss(self.host.pid()).context("no PSS")?;
        let create = self.host.create_with(request);
        let answer = tokio::time::timeout(BOOT_TIMEOUT + SLACK, create).await;
        let status = answer
            .context("hostd hangs")?
            .err()
            .context("it was let in")?;
        self.host.settles_to(&before).await?;
        let grown = procfs::pss(self.host.pid())
            .context("no PSS")?
            .saturating_sub(memory);
        ensure!(grown < GROWTH, "hostd has grown by {grown} bytes");
        Ok(status)
    }
}

async fn late(mode: &str) -> Result {
    let stage = Stage::new().await?;
    let refusal = stage.refusal(mode).await?;
    expect::<()>(Err(refusal), Code::DeadlineExceeded, "BOOT_TIMEOUT")?;
    stage.host.stop().await
}

async fn garbled(mode: &str) -> Result {
    let stage = Stage::new().await?;
    let refusal = stage.refusal(mode).await?;
    expect::<()>(Err(refusal), Code::Internal, "AGENT_PROTOCOL")?;
    stage.host.stop().await
}

async fn an_agent_that_never_starts(_: Arc<Host>) -> Result {
    late("sleep").await
}

async fn an_agent_that_never_speaks(_: Arc<Host>) -> Result {
    late("silent").await
}

async fn an_agent_that_talks_garbage(_: Arc<Host>) -> Result {
    garbled("garbage").await
}

async fn an_agent_that_never_stops_talking(_: Arc<Host>) -> Result {
    garbled("endless").await
}

async fn an_agent_whose_answer_is_huge(_: Arc<Host>) -> Result {
    garbled("huge").await
}

async fn an_agent_of_another_epoch(_: Arc<Host>) -> Result {
    garbled("liar").await
}

async fn a_kernel_without_init(host: Arc<Host>) -> Result {
    let request = CreateSandboxRequest {
        extra_cmdline: "rdinit=/no/such/file".to_owned(),
        ..Host::cold_boot()
    };
    let before = host.footprint();
    let status = host
        .create_with(request)
        .await
        .err()
        .context("it came up")?;
    ensure!(
        status.code() != Code::Unknown && !status.message().is_empty(),
        "{status:?}"
    );
    host.settles_to(&before).await
}
