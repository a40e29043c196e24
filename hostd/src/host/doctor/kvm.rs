//! The vmm binary and KVM, both asked by running the vmm: `--probe` makes a guest of a few instructions and times it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::Check;
use crate::VERSION;

/// The probe itself gives up after five seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// The answer is one line, with the names of the CPU's features.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// What the vmm says.
#[derive(Debug)]
pub struct Answers {
    version: Result<String, String>,
    probe: Result<Probe, String>,
}

/// One line of JSON from `vmm --probe`.
#[derive(Debug, Deserialize)]
struct Probe {
    kvm: Fitness,
    reason: Option<String>,
    instructions_per_second: Option<u64>,
    exit_cost_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Fitness {
    Ok,
    Missing,
    Unfit,
}

/// Asks the vmm for its version and for what it thinks of KVM. Problems are for people to read.
pub async fn ask(vmm: &Path) -> Answers {
    let probe = run(vmm, "--probe").await.and_then(|answer| {
        serde_json::from_str(answer.trim())
            .map_err(|error| format!("answered --probe with nonsense: {error}"))
    });
    Answers {
        version: run(vmm, "--version").await,
        probe,
    }
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

/// Whether the vmm is there and is of this build.
pub fn vmm_binary(vmm: &Path, answers: &Answers) -> Check {
    const REQUIREMENT: &str = "vmm binary of this version";
    let path = vmm.display();
    match &answers.version {
        Ok(version) if version.trim().ends_with(VERSION) => {
            Check::ok(REQUIREMENT, format!("{path}, {VERSION}"))
        }
        Ok(version) => {
            let shown: String = version.trim().chars().take(40).collect();
            let found = format!("{path} is {shown:?}, hostd is {VERSION}");
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
pub fn kvm(answers: &Answers) -> Check {
    const REQUIREMENT: &str = "KVM that is fit";
    const VIRTUAL_HOST: &str = "`cargo xtask host` runs in the virtual host";
    let probe = match &answers.probe {
        Ok(probe) => probe,
        Err(problem) => {
            let found = format!("not measured: the vmm {problem}");
            return Check::failed(REQUIREMENT, found, "make the vmm binary work first");
        }
    };
    let reason = probe.reason.as_deref().unwrap_or("no reason given");
    match probe.kvm {
        Fitness::Ok => Check::ok(REQUIREMENT, probe.speed()),
        Fitness::Missing => Check::failed(
            REQUIREMENT,
            format!("/dev/kvm cannot be used: {reason}"),
            format!(
                "enable VT-x or SVM in the firmware, load kvm_intel or kvm_amd, run as root or in the group kvm; \
                 where that is impossible, {VIRTUAL_HOST}"
            ),
        ),
        Fitness::Unfit => Check::failed(
            REQUIREMENT,
            format!("/dev/kvm is there but unfit: {reason} ({})", probe.speed()),
            format!("use a machine with hardware or real nested virtualisation; {VIRTUAL_HOST}"),
        ),
    }
}

impl Probe {
    fn speed(&self) -> String {
        let (Some(speed), Some(exit)) = (self.instructions_per_second, self.exit_cost_ns) else {
            return "not timed".into();
        };
        format!(
            "{} M instructions/s, {:.1} µs an exit",
            speed / 1_000_000,
            exit as f64 / 1e3
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::doctor::Verdict;

    fn answers(version: &str, probe: &str) -> Answers {
        Answers {
            version: Ok(version.into()),
            probe: serde_json::from_str(probe).map_err(|error| error.to_string()),
        }
    }

    #[test]
    fn each_verdict_has_its_remedy() {
        let fit = answers(
            &format!("vmm {VERSION}\n"),
            r#"{"kvm":"ok","reason":null,"instructions_per_second":200000000,"exit_cost_ns":37000,"cpu_features":[]}"#,
        );
        assert_eq!(kvm(&fit).verdict, Verdict::Ok);
        assert_eq!(kvm(&fit).found, "200 M instructions/s, 37.0 µs an exit");
        assert_eq!(vmm_binary(Path::new("vmm"), &fit).verdict, Verdict::Ok);

        let unfit = answers("vmm 9.9.9", r#"{"kvm":"unfit","reason":"interpreted?"}"#);
        assert_eq!(kvm(&unfit).verdict, Verdict::Failed);
        assert!(!kvm(&unfit).remedy.is_empty());
        assert_eq!(
            vmm_binary(Path::new("vmm"), &unfit).verdict,
            Verdict::Failed
        );
    }
}
