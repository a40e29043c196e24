//! What a guest's CPU can have on this host, and whether that is what a snapshot needs.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::vmm::probe::probe;

/// How many missing features are named; the rest is counted.
const MAX_NAMED: usize = 16;
/// After the vmm could not say, it is left alone for this long: its answer may take seconds, for which restores wait.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// A CPU, as KVM offers it to guests.
#[derive(Clone, Debug)]
pub struct Cpu {
    vendor: String,
    features: BTreeSet<String>,
}

/// This host's CPU, asked for once. When that fails, it is asked for again later.
#[derive(Debug, Default)]
pub struct HostCpu {
    known: OnceCell<Cpu>,
    failed: Mutex<Option<Instant>>,
}

impl HostCpu {
    /// The CPU, if the vmm can say. One caller asks, the others wait for that.
    pub async fn get(&self, vmm: &Path) -> Option<&Cpu> {
        let ask = || async {
            if self.failed().is_some_and(|at| at.elapsed() < ASK_AGAIN) {
                return Err(());
            }
            let answer = Cpu::ask(vmm).await;
            if answer.is_none() {
                *self.failed() = Some(Instant::now());
            }
            answer.ok_or(())
        };
        self.known.get_or_try_init(ask).await.ok()
    }

    fn failed(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cpu {
    /// Asks the vmm. `None` when it cannot say: then only the vmm itself can refuse a snapshot.
    pub async fn ask(vmm: &Path) -> Option<Self> {
        match probe(vmm).await {
            Ok(probe) => Some(Self {
                vendor: probe.cpu_vendor?,
                features: probe.cpu_features.into_iter().collect(),
            }),
            Err(problem) => {
                tracing::warn!("the vmm {problem}");
                None
            }
        }
    }

    /// What a guest that has seen such a CPU would miss here; empty when it can run.
    pub fn lacks(&self, vendor: &str, features: &[String]) -> Vec<String> {
        if vendor != self.vendor {
            return vec![format!("a CPU of {vendor}")];
        }
        let lacking = || {
            features
                .iter()
                .filter(|feature| !self.features.contains(*feature))
        };
        let mut named: Vec<String> = lacking().take(MAX_NAMED).cloned().collect();
        let more = lacking().count() - named.len();
        if more > 0 {
            named.push(format!("{more} more"));
        }
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendor_and_features_must_be_there() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let cpu = Cpu {
            vendor: "AuthenticAMD".into(),
            features: names(&["avx", "sse2"]).into_iter().collect(),
        };
        assert!(cpu.lacks("AuthenticAMD", &names(&["sse2"])).is_empty());
        assert_eq!(
            cpu.lacks("AuthenticAMD", &names(&["avx512", "sse2"])),
            ["avx512"]
        );
        assert_eq!(cpu.lacks("GenuineIntel", &[]), ["a CPU of GenuineIntel"]);
        let many: Vec<String> = (0..40).map(|n| format!("f{n}")).collect();
        assert_eq!(cpu.lacks("AuthenticAMD", &many).last().unwrap(), "24 more");
    }

    #[tokio::test]
    async fn a_vmm_that_could_not_say_is_asked_again_later() {
        let temp = tempfile::tempdir().unwrap();
        let vmm = temp.path().join("vmm");
        let host = HostCpu::default();
        assert!(host.get(&vmm).await.is_none());
        let script = "#!/bin/sh\necho '{\"kvm\":\"ok\",\"cpu_vendor\":\"AuthenticFake\"}'\n";
        std::fs::write(&vmm, script).unwrap();
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&vmm, executable).unwrap();
        assert!(host.get(&vmm).await.is_none(), "asked again at once");
        *host.failed() = Instant::now().checked_sub(ASK_AGAIN);
        assert_eq!(host.get(&vmm).await.unwrap().vendor, "AuthenticFake");
    }
}
