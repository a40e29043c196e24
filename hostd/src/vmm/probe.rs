//! Asking the vmm binary about itself, about KVM and about the CPU: `--version` and `--probe`, which makes a guest of a few
//! instructions and times it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// The probe itself gives up after five seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// The answer is one line, with the names of the CPU's features.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// One line of JSON from `vmm --probe`.
#[derive(Clone, Debug, Deserialize)]
pub struct Probe {
    /// Whether guests run.
    pub kvm: Fitness,
    /// Why not.
    pub reason: Option<String>,
    /// Of a guest's kernel.
    pub instructions_per_second: Option<u64>,
    /// What one VM exit takes.
    pub exit_cost_ns: Option<u64>,
    /// Like `AuthenticAMD`.
    pub cpu_vendor: Option<String>,
    /// What a guest's CPU can have here, as snapshots name it.
    #[serde(default)]
    pub cpu_features: Vec<String>,
}

/// How fit KVM is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fitness {
    /// Guests run.
    Ok,
    /// There is no `/dev/kvm` that we may open.
    Missing,
    /// It is there, and guests do not run, or crawl.
    Unfit,
}

/// Runs the probe. The error is for people, and goes on after the binary's name.
pub async fn probe(vmm: &Path) -> Result<Probe, String> {
    let answer = run(vmm, "--probe").await?;
    serde_json::from_str(answer.trim())
        .map_err(|error| format!("answered --probe with nonsense: {error}"))
}

/// The binary's version, as it says it.
pub async fn version(vmm: &Path) -> Result<String, String> {
    run(vmm, "--version").await
}

async fn run(vmm: &Path, flag: &str) -> Result<String, String> {
    let mut child = Command::new(vmm)
        .arg(flag)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    let stdout = child.stdout.take().ok_or("has no output")?;
    let mut answer = String::new();
    let run = async {
        stdout
            .take(MAX_ANSWER_BYTES)
            .read_to_string(&mut answer)
            .await?;
        child.wait().await
    };
    match tokio::time::timeout(ANSWER_LIMIT, run).await {
        Ok(Ok(status)) if status.success() => Ok(answer),
        Ok(Ok(status)) => Err(format!("ended with {status} when asked for {flag}")),
        Ok(Err(error)) => Err(format!("cannot be asked for {flag}: {error}")),
        Err(_) => Err(format!("did not answer {flag} in time")),
    }
}
