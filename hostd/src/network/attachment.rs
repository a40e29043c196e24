//! One sandbox's network.

use std::sync::{Arc, Mutex, PoisonError};

use egress::gate::{Egress, Gate, Limits, Shared, Sockets};
use egress::intercept::authority::Authority;
use egress::policy::{Policy, PolicySpec};
use net::{Namespace, Network};

use super::spec::parse_policy;
use super::{NetworkSpec, Tap};
use crate::error::{Error, Result, chain};
use crate::id::SandboxId;

/// A running gate and the namespace behind it. Closing it ends all connections.
pub struct Attachment {
    shared: Arc<Shared>,
    gate: Gate,
    namespace: Namespace,
    authority_pem: String,
    /// As a client wrote it.
    policy: Mutex<PolicySpec>,
}

impl Attachment {
    pub(super) fn new(
        egress: &Egress,
        network: Network,
        id: &SandboxId,
        spec: Option<&NetworkSpec>,
    ) -> Result<(Arc<Self>, Tap)> {
        let failed = |error: &dyn std::error::Error| Error::Host {
            doing: "setting up the sandbox's way out".into(),
            cause: chain(error),
        };
        let authority = Authority::generate(id.as_str()).map_err(|error| failed(&error))?;
        let authority_pem = authority.certificate_pem();
        let policy = spec.map_or_else(|| Ok(Policy::deny_all()), NetworkSpec::policy)?;
        let shared = Arc::new(egress.sandbox(
            id.as_str(),
            policy,
            Arc::new(authority),
            Limits::default(),
        ));
        let sockets = Sockets {
            tcp: network.sockets.tcp,
            dns_udp: network.sockets.dns_udp,
            dns_tcp: network.sockets.dns_tcp,
        };
        let gate = Gate::start(shared.clone(), sockets).map_err(|error| failed(&error))?;
        let attachment = Arc::new(Self {
            shared,
            gate,
            namespace: network.namespace,
            authority_pem,
            policy: Mutex::new(spec.map(|spec| spec.policy.clone()).unwrap_or_default()),
        });
        Ok((attachment, network.tap))
    }

    /// What programs in the sandbox are to trust, as PEM text.
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// The policy in force, as it was written.
    pub fn policy(&self) -> PolicySpec {
        self.written().clone()
    }

    /// Puts another policy in force.
    pub fn set_policy(&self, spec: PolicySpec) -> Result<()> {
        let policy = parse_policy(&spec)?;
        let mut written = self.written();
        *written = spec;
        self.shared.policy.replace(policy);
        Ok(())
    }

    fn written(&self) -> std::sync::MutexGuard<'_, PolicySpec> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment").finish_non_exhaustive()
    }
}
