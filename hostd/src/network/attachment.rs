//! One sandbox's network.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use egress::audit::Subscription;
use egress::gate::{Counts, Egress, Gate, Shared, Sockets};
use egress::intercept::authority::Authority;
use egress::policy::PolicySpec;
use egress::secrets::{Bindings, Vault};
use net::{Dropped, Namespace, Network};

use super::Tap;
use super::spec::{NetworkLimits, ResolvedNetwork, SecretSpec, parse_policy, secrets};
use crate::error::{Error, Result, chain};
use crate::id::SandboxId;

/// A running gate and the namespace behind it. Closing it ends all connections.
pub struct Attachment {
    shared: Arc<Shared>,
    gate: Mutex<Option<Gate>>,
    namespace: Namespace,
    authority_pem: String,
    limits: NetworkLimits,
    /// As a client wrote it.
    policy: Mutex<PolicySpec>,
}

/// What a network has carried and refused so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetworkFigures {
    /// Connections, by what became of them.
    pub connections: Counts,
    /// Packets that were no connection's.
    pub dropped: Dropped,
}

impl Attachment {
    pub(super) fn new(
        egress: &Egress,
        network: Network,
        id: &SandboxId,
        resolved: &ResolvedNetwork,
    ) -> Result<(Arc<Self>, Tap)> {
        let failed = |error: &(dyn std::error::Error + 'static)| Error::Host {
            doing: "setting up the sandbox's way out".into(),
            cause: chain(error),
        };
        let authority = Authority::generate(id.as_str()).map_err(|error| failed(&error))?;
        let authority_pem = authority.certificate_pem();
        let shared = egress.sandbox(
            id.as_str(),
            parse_policy(&resolved.policy)?,
            Vault::new(resolved.secrets.clone()),
            Arc::new(authority),
            egress::gate::Limits::default(),
        );
        let sockets = Sockets {
            tcp: network.sockets.tcp,
            dns_udp: network.sockets.dns_udp,
            dns_tcp: network.sockets.dns_tcp,
        };
        let gate = Gate::start(shared, sockets).map_err(|error| failed(&error))?;
        let attachment = Arc::new(Self {
            shared: gate.shared().clone(),
            gate: Mutex::new(Some(gate)),
            namespace: network.namespace,
            authority_pem,
            limits: resolved.limits,
            policy: Mutex::new(resolved.policy.clone()),
        });
        Ok((attachment, network.tap))
    }

    /// What programs in the sandbox are to trust, as PEM text.
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }

    /// What is decided about it from now on, until it ends.
    pub fn decisions(&self) -> Subscription {
        self.shared.audit.subscribe()
    }

    /// How much may pass.
    pub fn limits(&self) -> NetworkLimits {
        self.limits
    }

    /// The policy in force, as it was written.
    pub fn policy(&self) -> PolicySpec {
        lock(&self.policy).clone()
    }

    /// Puts another policy in force.
    pub fn set_policy(&self, spec: PolicySpec) -> Result<()> {
        let policy = parse_policy(&spec)?;
        let mut written = lock(&self.policy);
        *written = spec;
        self.shared.policy.replace(policy);
        Ok(())
    }

    /// The secrets as they are now.
    pub fn secrets(&self) -> Arc<Bindings> {
        self.shared.vault.load()
    }

    /// Adds secrets, and gives those whose names are known new values; these keep their placeholders.
    pub fn put_secrets(&self, specs: &[SecretSpec]) -> Result<()> {
        self.shared.vault.put(|earlier| secrets(specs, earlier))
    }

    /// Takes a secret away.
    pub fn remove_secret(&self, name: &str) -> Result<()> {
        let unknown = || Error::SecretNotFound(name.to_owned());
        let parsed = name.parse().map_err(|_| unknown())?;
        let revoked = self.shared.vault.revoke(&parsed);
        revoked.then_some(()).ok_or_else(unknown)
    }

    /// What it has carried and refused.
    pub fn figures(&self) -> NetworkFigures {
        let connections = lock(&self.gate).as_ref().map(Gate::counts);
        NetworkFigures {
            connections: connections.unwrap_or_default(),
            // Only a namespace that is gone cannot tell.
            dropped: self.namespace.dropped().unwrap_or_default(),
        }
    }

    /// Ends every connection.
    pub async fn close(&self) {
        let gate = lock(&self.gate).take();
        if let Some(gate) = gate {
            gate.close().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment").finish_non_exhaustive()
    }
}
