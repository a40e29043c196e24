//! A guest agent that misbehaves: `/init` of an image that only tests use.
//!
//! The kernel's command line says how, as `fake_agent=MODE`; see [`Mode`]. Must be linked
//! statically, like the agent whose place it takes.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use protocol::AGENT_VSOCK_PORT;
use protocol::agent::v1::agent_server::{Agent, AgentServer};
use protocol::agent::v1::{
    EnterRequest, EnterResponse, FreezeRequest, FreezeResponse, HelloRequest, HelloResponse,
    PowerOffRequest, PowerOffResponse, StatsRequest, StatsResponse,
};
use tokio::io::AsyncWriteExt;
use tokio_vsock::{VMADDR_CID_ANY, VsockAddr, VsockListener};
use tonic::{Request, Response, Status};

/// What vsock over PCI needs; modules that are built in are not there to be loaded.
const MODULES: [&str; 2] = ["virtio_pci", "vmw_vsock_virtio_transport"];
/// One write of garbage.
const GARBAGE_BYTES: usize = 64 << 10;
/// More than any gRPC message may have.
const HUGE_BYTES: usize = 64 << 20;

/// How it misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Never listens.
    Sleep,
    /// Accepts and never says a word.
    Silent,
    /// Says something that is not HTTP/2, and hangs up.
    Garbage,
    /// Says it for ever.
    Endless,
    /// Speaks gRPC, and answers Hello with far too much.
    Huge,
    /// Speaks gRPC, and claims to have entered another epoch than it was told.
    Liar,
}

fn main() {
    if let Err(error) = run() {
        println!("fake-agent: {error:#}");
    }
    // The end of PID 1 would be a panic of the kernel, and that is another test.
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn run() -> anyhow::Result<()> {
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::empty(),
        None::<&str>,
    )
    .or_else(|_| {
        std::fs::create_dir_all("/proc")?;
        mount(
            Some("proc"),
            "/proc",
            Some("proc"),
            MsFlags::empty(),
            None::<&str>,
        )
        .map_err(std::io::Error::from)
    })
    .context("mounting /proc")?;
    let mode = mode(&std::fs::read_to_string("/proc/cmdline")?)?;
    if mode == Mode::Sleep {
        return Ok(());
    }
    load_modules()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(mode))
}

fn mode(cmdline: &str) -> anyhow::Result<Mode> {
    let words = cmdline.split_whitespace();
    let mode = words
        .filter_map(|word| word.strip_prefix("fake_agent="))
        .next_back();
    Ok(match mode {
        Some("sleep") => Mode::Sleep,
        Some("silent") => Mode::Silent,
        Some("garbage") => Mode::Garbage,
        Some("endless") => Mode::Endless,
        Some("huge") => Mode::Huge,
        Some("liar") => Mode::Liar,
        other => bail!("no such mode: {other:?}"),
    })
}

async fn serve(mode: Mode) -> anyhow::Result<()> {
    let address = VsockAddr::new(VMADDR_CID_ANY, AGENT_VSOCK_PORT);
    let listener = VsockListener::bind(address).context("listening")?;
    if matches!(mode, Mode::Huge | Mode::Liar) {
        let server = tonic::transport::Server::builder().add_service(AgentServer::new(Fake(mode)));
        return Ok(server.serve_with_incoming(listener.incoming()).await?);
    }
    let mut kept = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().await?;
        let garbage = vec![0xa5; GARBAGE_BYTES];
        match mode {
            // An error means that the host hung up, as it should.
            Mode::Endless => while stream.write_all(&garbage).await.is_ok() {},
            Mode::Garbage => drop(stream.write_all(&garbage).await),
            _ => kept.push(stream),
        }
    }
}

/// Loads what [`MODULES`] names, and before each what it needs.
fn load_modules() -> anyhow::Result<()> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let directory = Path::new("/lib/modules").join(release.trim());
    let table = std::fs::read_to_string(directory.join("modules.dep")).context("modules.dep")?;
    let mut needs: HashMap<String, Vec<&str>> = HashMap::new();
    for line in table.lines() {
        let Some((path, before)) = line.split_once(':') else {
            continue;
        };
        // Listed from the nearest need to the farthest.
        let mut chain: Vec<&str> = before.split_whitespace().rev().collect();
        chain.push(path);
        needs.insert(module_name(path), chain);
    }
    for path in MODULES.iter().filter_map(|name| needs.get(*name)).flatten() {
        let file = File::open(directory.join(path)).with_context(|| (*path).to_owned())?;
        match finit_module(file, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => bail!("loading {path}: {error}"),
        }
    }
    Ok(())
}

/// `kernel/net/vmw_vsock/vsock.ko` as the kernel names it.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = file.split('.').next().unwrap_or(file);
    stem.replace('-', "_")
}

struct Fake(Mode);

#[tonic::async_trait]
impl Agent for Fake {
    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        let agent_version = match self.0 {
            Mode::Huge => "x".repeat(HUGE_BYTES),
            _ => env!("CARGO_PKG_VERSION").to_owned(),
        };
        Ok(Response::new(HelloResponse {
            agent_version,
            ..Default::default()
        }))
    }

    async fn enter(&self, _: Request<EnterRequest>) -> Result<Response<EnterResponse>, Status> {
        let epoch = "00000000-0000-4000-8000-000000000000".to_owned();
        Ok(Response::new(EnterResponse {
            epoch,
            clock_step_ns: 0,
        }))
    }

    async fn freeze(&self, _: Request<FreezeRequest>) -> Result<Response<FreezeResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn power_off(
        &self,
        _: Request<PowerOffRequest>,
    ) -> Result<Response<PowerOffResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }

    async fn stats(&self, _: Request<StatsRequest>) -> Result<Response<StatsResponse>, Status> {
        Err(Status::unimplemented("fake"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mode_counts() {
        assert_eq!(
            mode("quiet fake_agent=sleep fake_agent=huge\n").unwrap(),
            Mode::Huge
        );
        assert!(mode("quiet").is_err());
    }

    #[test]
    fn names_of_modules() {
        assert_eq!(
            module_name("kernel/drivers/virtio/virtio-pci.ko.xz"),
            "virtio_pci"
        );
    }
}
