//! Checks every requirement, says what was found and what to do.

mod kernel;
mod kvm;
mod resources;

use std::path::Path;

use crate::services::Services;

/// One requirement, looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is required.
    pub requirement: &'static str,
    /// How it stands.
    pub verdict: Verdict,
    /// What there is.
    pub found: String,
    /// What to do; empty when all is well.
    pub remedy: String,
}

/// How a requirement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Met.
    Ok,
    /// Not met, but sandboxes run.
    Warning,
    /// Not met, and sandboxes cannot run.
    Failed,
}

impl Check {
    fn ok(requirement: &'static str, found: impl Into<String>) -> Self {
        Self {
            requirement,
            verdict: Verdict::Ok,
            found: found.into(),
            remedy: String::new(),
        }
    }

    fn warning(
        requirement: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            requirement,
            verdict: Verdict::Warning,
            found: found.into(),
            remedy: remedy.into(),
        }
    }

    fn failed(
        requirement: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            requirement,
            verdict: Verdict::Failed,
            found: found.into(),
            remedy: remedy.into(),
        }
    }
}

/// Looks at everything, now.
pub async fn examine(services: &Services) -> Vec<Check> {
    let mut checks = examine_machine(&services.config.vmm).await;
    let state_dir = services.state_dir.root().to_owned();
    let (images, cgroups) = (services.images.clone(), services.cgroups.clone());
    let look = move || resources::of_hostd(&state_dir, &images, cgroups.as_ref());
    checks.extend(blocking(look).await);
    checks
}

/// Looks at what can be known without a hostd.
pub async fn examine_machine(vmm: &Path) -> Vec<Check> {
    let answers = kvm::ask(vmm).await;
    let mut checks = vec![kvm::vmm_binary(vmm, &answers), kvm::kvm(&answers)];
    let rest = || {
        let mut checks = kernel::checks();
        checks.extend(resources::of_machine());
        checks
    };
    checks.extend(blocking(rest).await);
    checks
}

async fn blocking(look: impl FnOnce() -> Vec<Check> + Send + 'static) -> Vec<Check> {
    let looked = tokio::task::spawn_blocking(look).await;
    looked.unwrap_or_else(|error| {
        let bug = Check::failed("doctor", error.to_string(), "report this as a bug");
        vec![bug]
    })
}
