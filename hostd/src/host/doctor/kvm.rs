//! The vmm binary and KVM, both asked by running the vmm.

use std::path::Path;

use super::Check;
use crate::VERSION;
use crate::vmm::probe::{Fitness, Probe};

/// What the vmm says. Problems are for people to read.
#[derive(Debug)]
pub struct Answers {
    version: Result<String, String>,
    probe: Result<Probe, String>,
}

/// Asks the vmm for its version and for what it thinks of KVM.
pub async fn ask(vmm: &Path) -> Answers {
    Answers {
        version: crate::vmm::probe::version(vmm).await,
        probe: crate::vmm::probe::probe(vmm).await,
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
        Fitness::Ok => Check::ok(REQUIREMENT, speed(probe)),
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
            format!("/dev/kvm is there but unfit: {reason} ({})", speed(probe)),
            format!("use a machine with hardware or real nested virtualisation; {VIRTUAL_HOST}"),
        ),
    }
}

fn speed(probe: &Probe) -> String {
    let (Some(speed), Some(exit)) = (probe.instructions_per_second, probe.exit_cost_ns) else {
        return "not timed".into();
    };
    let exit = exit as f64 / 1e3;
    format!(
        "{} M instructions/s, {exit:.1} µs an exit",
        speed / 1_000_000
    )
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
