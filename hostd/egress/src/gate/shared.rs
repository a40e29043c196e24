//! What all connections of one sandbox share.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::sync::Semaphore;

use super::{HostAddresses, Limits};
use crate::audit::Audit;
use crate::intercept::authority::Authority;
use crate::policy::{Host, LivePolicy, Policy, Target, Verdict};
use crate::resolver::{Names, Rates, Upstream};
use crate::secrets::Vault;

/// What all connections of one sandbox share; [`super::Egress::sandbox`] makes it.
pub struct Shared {
    /// The sandbox's name.
    pub sandbox: Arc<str>,
    /// Its policy, which may change at any time.
    pub policy: LivePolicy,
    /// Its secrets, which may change at any time.
    pub vault: Vault,
    /// Who signs for the hosts whose TLS is opened.
    pub authority: Arc<Authority>,
    /// The host's resolver.
    pub resolver: Upstream,
    /// Which names the sandbox was given which addresses for.
    pub names: Names,
    /// How much it may ask, by questions or by connections to names.
    pub(crate) rates: Rates,
    /// Places for connections to hosts.
    pub(crate) hosts: Arc<Semaphore>,
    /// Places for requests under way.
    pub(crate) requests: Arc<Semaphore>,
    /// Places for bodies that are signed, each of which is held in memory as a whole.
    pub(crate) signing: Arc<Semaphore>,
    /// Where decisions are told.
    pub audit: Audit,
    /// What the sandbox may use.
    pub limits: Limits,
    /// How upstreams are verified; ALPN is left to whoever uses it.
    pub upstream_tls: Arc<ClientConfig>,
    /// The host's own addresses.
    pub host: Arc<HostAddresses>,
}

impl Shared {
    /// Whether the policy in force allows this target. A name may still stand for nothing that
    /// may be dialled.
    ///
    /// # Errors
    /// [`crate::policy::Refusal`] says why not.
    pub fn check(&self, target: &Target) -> Verdict {
        self.check_by(&self.policy.load(), target)
    }

    /// Whether TLS to this target has to be opened.
    pub(crate) fn opens(&self, target: &Target) -> bool {
        let has_secrets = || self.vault.load().has_for(&target.host);
        self.policy.load().inspects(target) || has_secrets()
    }

    /// Ends when the policy in force refuses the target, or the address that it was reached at.
    pub async fn until_refused(&self, target: &Target, at: Option<IpAddr>) {
        let allows = |policy: &Policy| {
            let allowed = self.check_by(policy, target);
            allowed.and_then(|()| self.check_at(policy, target, at))
        };
        self.policy
            .until_refused(|policy| allows(policy).is_ok())
            .await;
    }

    fn check_by(&self, policy: &Policy, target: &Target) -> Verdict {
        match &target.host {
            Host::Name(name) => policy.check(name, target.port),
            Host::Ip(address) => policy.check_ip(*address, target.port, &self.host.load()),
        }
    }

    fn check_at(&self, policy: &Policy, target: &Target, at: Option<IpAddr>) -> Verdict {
        match (&target.host, at) {
            (Host::Name(name), Some(address)) => {
                policy.check_address(name, address, target.port, &self.host.load())
            }
            // An address is its own, and was checked as such.
            (Host::Ip(_), _) | (_, None) => Ok(()),
        }
    }
}
