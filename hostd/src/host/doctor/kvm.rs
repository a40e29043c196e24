//! The vmm binary and KVM, both asked by running `vmm --probe`: it makes a guest of a few instructions and times it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::Check;
use crate::VERSION;

/// The first use of KVM on a fresh host takes 0.1 s; an unfit one is given time to show how slow it is.
const PROBE_LIMIT: Duration = Duration::from_secs(30);
/// The answer is one line.
const MAX_ANSWER_BYTES: u64 = 16 << 10;

/// What `vmm --probe` prints: one line of JSON.
#[derive(Clone, Debug, Deserialize)]
pub struct Probe {
    kvm: Fitness,
    #[serde(default)]
    version: String,
    #[serde(default)]
    instructions_per_second: f64,
    #[serde(default)]
    exit_cost_ns: f64,
    #[serde(default)]
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fitness {
    Ok,
    Missing,
    Unfit,
}

/// Runs the probe. The error is for people.
pub async fn probe(vmm: &Path) -> Result<Probe, String> {
    let mut child = Command::new(vmm)
        .arg("--probe")
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
    let status = tokio::time::timeout(PROBE_LIMIT, run)
        .await
        .map_err(|_| "did not answer --probe in time")?;
    let status = status.map_err(|error| format!("cannot be asked: {error}"))?;
    serde_json::from_str(answer.trim())
        .map_err(|error| format!("answered --probe with {status} and nonsense: {error}"))
}

/// Whether the vmm is there and is of this build.
pub fn vmm_binary(vmm: &Path, probe: &Result<Probe, String>) -> Check {
    const REQUIREMENT: &str = "vmm binary of this version";
    let path = vmm.display();
    match probe {
        Ok(probe) if probe.version == VERSION || probe.version.is_empty() => {
            Check::ok(REQUIREMENT, format!("{path}, {VERSION}"))
        }
        Ok(probe) => {
            let found = format!("{path} is {}, hostd is {VERSION}", probe.version);
            Check::failed(REQUIREMENT, found, "install both of one build")
        }
        Err(problem) => Check::failed(
            REQUIREMENT,
            format!("{path} {problem}"),
            "build it (cargo build -p vmm) or say where it is with --vmm",
        ),
    }
}

/// Whether KVM runs guests, and at what speed.
pub fn kvm(probe: &Result<Probe, String>) -> Check {
    const REQUIREMENT: &str = "KVM that is fit";
    let Ok(probe) = probe else {
        return Check::failed(
            REQUIREMENT,
            "not measured",
            "make the vmm binary work first",
        );
    };
    let speed = format!(
        "{:.0} M instructions/s, {:.1} µs an exit",
        probe.instructions_per_second / 1e6,
        probe.exit_cost_ns / 1e3
    );
    match probe.kvm {
        Fitness::Ok => Check::ok(REQUIREMENT, speed),
        Fitness::Missing => Check::failed(
            REQUIREMENT,
            format!("/dev/kvm cannot be used: {}", probe.reason),
            "enable VT-x or SVM in the firmware, load kvm_intel or kvm_amd, run as root or in the group kvm; \
             where that is impossible, `cargo xtask host` runs in the virtual host",
        ),
        Fitness::Unfit => Check::failed(
            REQUIREMENT,
            format!("/dev/kvm is there but unfit: {} ({speed})", probe.reason),
            "use a machine with hardware virtualisation or real nested virtualisation; `cargo xtask host` runs in the virtual host",
        ),
    }
}
