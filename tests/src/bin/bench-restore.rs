//! Where the time of a restore goes, with a cold boot and one VM exit beside it.
//!
//! Every row of the table is over the runs of one invocation on one machine. Times are wall
//! clock, measured here except for the stages, which hostd reports with Create's answer.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use protocol::hostd::v1::InfoRequest;
use serde_json::Value;
use tests::bench::Table;
use tests::host::HostOptions;
use tests::products::Products;
use tests::{Host, Result, Sandbox};

/// Measures restores and cold boots side by side.
#[derive(Debug, Parser)]
struct Args {
    /// Restores
    #[arg(long, default_value_t = 20)]
    runs: u32,
    /// Cold boots
    #[arg(long, default_value_t = 20)]
    cold_runs: u32,
    /// Write the rows to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(&args)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-restore: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result {
    let products = Products::find()?;
    let mut table = Table::new("restore");
    vm_exit(products, &mut table)?;

    let host = Host::start(HostOptions::with_default_snapshot(products)?).await?;
    let progress = |what: &str, number: u32, of: u32| eprintln!("{what} {number}/{of}");
    // The first restore on a host fills the template: another case than all later ones.
    measure(&host, Case::FirstRestore, &mut table).await?;
    // One of each in turn, so that what slows the machine down slows both.
    for number in 0..args.runs.max(args.cold_runs) {
        if number < args.runs {
            progress("restore", number + 1, args.runs);
            measure(&host, Case::Restore, &mut table).await?;
        }
        if number < args.cold_runs {
            progress("cold boot", number + 1, args.cold_runs);
            measure(&host, Case::ColdBoot, &mut table).await?;
        }
    }
    let info = host
        .clients()
        .host()
        .info(InfoRequest {})
        .await?
        .into_inner();
    table.add("hostd", "PSS", "MiB", mib(info.hostd_pss_bytes));
    host.stop().await?;

    let about = format!(
        "{}, {} CPUs, {} MiB, Linux {}",
        info.cpu_model,
        info.cpus,
        info.memory_bytes >> 20,
        info.kernel_release
    );
    table.print(&about);
    match &args.json {
        Some(path) => Ok(std::fs::write(
            path,
            format!("{:#}\n", table.to_json(&about)),
        )?),
        None => Ok(()),
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    FirstRestore,
    Restore,
    ColdBoot,
}

impl Case {
    fn name(self) -> &'static str {
        match self {
            Self::FirstRestore => "first restore",
            Self::Restore => "restore",
            Self::ColdBoot => "cold boot",
        }
    }

    async fn create(self, host: &Arc<Host>) -> Result<Sandbox> {
        match self {
            Self::ColdBoot => host.boot().await,
            _ => host.create().await,
        }
    }
}

/// One life: create, exec, look at the counters, kill.
async fn measure(host: &Arc<Host>, case: Case, table: &mut Table) -> Result {
    let name = case.name();
    let start = Instant::now();
    let sandbox = case.create(host).await?;
    let created = start.elapsed();
    // Asked before the exec, so that the exits are those of coming up alone.
    let stats = sandbox.stats().await?;
    let before_exec = Instant::now();
    sandbox.says("echo").await?;
    let exec = before_exec.elapsed();
    let killing = Instant::now();
    sandbox.kill().await?;
    let killed = killing.elapsed();

    for stage in &sandbox.info().create_stages {
        let duration = stage.duration.unwrap_or_default();
        let millis = duration.seconds as f64 * 1e3 + f64::from(duration.nanos) / 1e6;
        table.add(name, &format!("  {}", stage.name), "ms", millis);
    }
    table.add(name, "Create answered", "ms", created.as_secs_f64() * 1e3);
    table.add(name, "first exec answered", "ms", exec.as_secs_f64() * 1e3);
    table.add(
        name,
        "Create and exec",
        "ms",
        (created + exec).as_secs_f64() * 1e3,
    );
    table.add(name, "Kill answered", "ms", killed.as_secs_f64() * 1e3);
    table.add(
        name,
        "VM exits until Create answered",
        "exits",
        stats.vm_exits as f64,
    );
    // The guest touches a page of its memory for the first time.
    if let Some(faults) = stats.kvm.get("pf_taken") {
        table.add(name, "  of these page faults", "exits", *faults as f64);
    }
    table.add(
        name,
        "vmm PSS beside guest memory",
        "MiB",
        mib(stats.vmm_pss_bytes),
    );
    table.add(name, "agent PSS", "MiB", mib(stats.agent_pss_bytes));
    table.add(
        name,
        "guest memory of its own",
        "MiB",
        mib(stats.guest_private_bytes),
    );
    Ok(())
}

/// The yardstick: how long one exit to the vmm takes on this machine.
fn vm_exit(products: &Products, table: &mut Table) -> Result {
    const PROBES: usize = 5;
    for _ in 0..PROBES {
        let output = Command::new(products.binary("vmm")?)
            .arg("--probe")
            .output()?;
        let probe: Value = serde_json::from_slice(&output.stdout).context("vmm --probe")?;
        let nanos = probe["exit_cost_ns"]
            .as_f64()
            .context("vmm --probe says no exit_cost_ns")?;
        table.add("yardstick", "one VM exit to user space", "µs", nanos / 1e3);
    }
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
