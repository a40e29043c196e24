//! Is KVM here, and is it any good?
//!
//! A `/dev/kvm` that opens may still be unfit: some hosts interpret guest kernels, two orders of
//! magnitude too slow. So a guest of a few instructions runs in ring 0 against the clock.

mod guest;

use serde::Serialize;

use crate::boot::cpuid;
use crate::control::failure::chain;
use crate::kvm::{Error, Host};
use guest::{Measured, ProbeError};

/// Hosts that run guests natively reach billions, a busy software CPU with real
/// virtualisation inside a hundred million, and interpreters one or two.
const FIT_INSTRUCTIONS_PER_SECOND: u64 = 20_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Missing,
    Unfit,
}

/// What `vmm --probe` prints.
#[derive(Debug, Serialize)]
struct Report {
    kvm: Verdict,
    reason: Option<String>,
    api_version: Option<u32>,
    instructions_per_second: Option<u64>,
    exit_cost_ns: Option<u64>,
    cpu_vendor: Option<String>,
    cpu_features: Vec<String>,
}

/// Measures and answers one line of JSON. Takes less than a second, and never more than five.
pub fn run() -> String {
    guest::limit_patience(|| print(&Report::bad(Verdict::Unfit, "a guest cannot be stopped")));
    print(&probe())
}

fn print(report: &Report) -> String {
    serde_json::to_string(report)
        .unwrap_or_else(|error| format!(r#"{{"kvm":"unfit","reason":"{error}"}}"#))
}

fn probe() -> Report {
    let host = match Host::open_unchecked() {
        Ok(host) => host,
        Err(error @ Error::Open(_)) => return Report::bad(Verdict::Missing, &chain(&error)),
        Err(error) => return Report::bad(Verdict::Unfit, &chain(&error)),
    };
    let mut report = Report::bad(Verdict::Unfit, "");
    report.api_version = Some(kvm_bindings::KVM_API_VERSION);
    if let Ok(supported) = host.supported_cpuid() {
        report.cpu_vendor = Some(cpuid::vendor(supported.as_slice()));
        report.cpu_features = cpuid::features(supported.as_slice());
    }
    let missing = host.missing();
    if !missing.is_empty() {
        report.reason = Some(format!("KVM lacks {}", missing.join(", ")));
        return report;
    }
    report.judge(guest::measure(&host));
    report
}

impl Report {
    fn bad(kvm: Verdict, reason: &str) -> Self {
        Self {
            kvm,
            reason: Some(reason.into()),
            api_version: None,
            instructions_per_second: None,
            exit_cost_ns: None,
            cpu_vendor: None,
            cpu_features: Vec::new(),
        }
    }

    fn judge(&mut self, measured: Result<Measured, ProbeError>) {
        let measured = match measured {
            Ok(measured) => measured,
            Err(error) => {
                self.reason = Some(format!("a minimal guest does not run: {}", chain(&error)));
                return;
            }
        };
        let speed = measured.instructions_per_second;
        self.instructions_per_second = Some(speed);
        self.exit_cost_ns = measured.exit_cost_ns;
        if speed >= FIT_INSTRUCTIONS_PER_SECOND {
            (self.kvm, self.reason) = (Verdict::Ok, None);
        } else {
            let reason =
                format!("guest kernels run at {speed} instructions per second: interpreted?");
            self.reason = Some(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_decides() {
        for (speed, verdict) in [(1_600_000, Verdict::Unfit), (400_000_000, Verdict::Ok)] {
            let mut report = Report::bad(Verdict::Unfit, "");
            report.judge(Ok(Measured {
                instructions_per_second: speed,
                exit_cost_ns: Some(1000),
            }));
            assert_eq!(report.kvm, verdict);
        }
    }
}
