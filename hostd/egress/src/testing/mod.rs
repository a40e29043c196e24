//! What tests of several modules need: an upstream DNS server, and a sandbox's shared state over it.

mod coding;
mod dns;

pub(crate) use self::coding::{encoded, flushed};
pub(crate) use self::dns::FakeDns;

use std::sync::Arc;

use crate::gate::{Egress, EgressConfig, Limits, Shared};
use crate::intercept::authority::Authority;
use crate::policy::{Fallback, Policy, PolicySpec};
use crate::resolver::Servers;
use crate::secrets::{Hosts, Placeholder, Secret, SecretValue, Surface, Vault};

/// A policy that allows only this.
pub(crate) fn only(allow: &[&str]) -> Policy {
    policy(Fallback::Deny, allow, &[])
}

/// A policy.
pub(crate) fn policy(fallback: Fallback, allow: &[&str], deny: &[&str]) -> Policy {
    let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect();
    let (allow, deny) = (texts(allow), texts(deny));
    Policy::parse(&PolicySpec {
        fallback,
        allow,
        deny,
    })
    .unwrap()
}

/// What the connections of a sandbox named `box` share, and the host's part of it.
pub(crate) fn sandbox(dns: &FakeDns, policy: Policy, limits: Limits) -> (Egress, Shared) {
    let config = EgressConfig {
        servers: Servers::Given(vec![dns.address()]),
        ..EgressConfig::default()
    };
    let egress = Egress::new(&config).unwrap();
    let authority = Arc::new(Authority::generate("box").unwrap());
    let shared = egress.sandbox("box", policy, Vault::default(), authority, limits);
    (egress, shared)
}

/// A secret for one host, in headers.
pub(crate) fn secret(name: &str, value: &str, host: &str) -> Secret {
    on(name, value, host, Surface::default())
}

/// A secret for one host, with a surface.
pub(crate) fn on(name: &str, value: &str, host: &str, surface: Surface) -> Secret {
    let hosts = Hosts::parse(&[host]).unwrap();
    let (value, placeholder) = (
        SecretValue::new(value).unwrap(),
        Placeholder::generate().unwrap(),
    );
    Secret::new(name.parse().unwrap(), value, hosts, surface, placeholder).unwrap()
}
