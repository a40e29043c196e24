//! What a guest's CPU can have on this host, and whether that is what a snapshot needs.

use std::collections::BTreeSet;
use std::path::Path;

use crate::vmm::probe::probe;

/// How many missing features are named; the rest is counted.
const MAX_NAMED: usize = 16;

/// A CPU, as KVM offers it to guests.
#[derive(Clone, Debug)]
pub struct Cpu {
    vendor: String,
    features: BTreeSet<String>,
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
}
