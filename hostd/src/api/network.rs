//! Messages of networks and domain types, one into the other.

use egress::audit::{Decision, Moment};
use egress::policy::{Fallback, PolicySpec};
use protocol::hostd::v1 as wire;

use crate::network::{Attachment, NetworkSpec};

/// A client's request, not yet checked.
pub fn spec(network: wire::Network) -> NetworkSpec {
    NetworkSpec {
        policy: policy(network.policy.unwrap_or_default()),
    }
}

/// A policy, not yet checked.
pub fn policy(policy: wire::NetworkPolicy) -> PolicySpec {
    PolicySpec {
        fallback: match policy.allow_by_default {
            true => Fallback::Allow,
            false => Fallback::Deny,
        },
        allow: policy.allow,
        deny: policy.deny,
    }
}

/// A network as clients see it.
pub fn status(sandbox_id: &str, attachment: &Attachment) -> wire::NetworkStatus {
    let policy = attachment.policy();
    wire::NetworkStatus {
        sandbox_id: sandbox_id.to_owned(),
        policy: Some(wire::NetworkPolicy {
            allow: policy.allow,
            deny: policy.deny,
            allow_by_default: policy.fallback == Fallback::Allow,
        }),
        ca_certificate_pem: attachment.authority_pem().to_owned(),
    }
}

/// A decision as clients see it.
pub fn decision(decision: &Decision) -> wire::NetworkDecision {
    wire::NetworkDecision {
        time: Some(decision.time.into()),
        sandbox_id: decision.sandbox.to_string(),
        protocol: decision.protocol.to_string(),
        host: decision
            .host
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        port: decision.port.into(),
        address: decision
            .address
            .map(|address| address.to_string())
            .unwrap_or_default(),
        method: decision
            .method
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        path: decision
            .path
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        secrets: decision.secrets.iter().map(ToString::to_string).collect(),
        outcome: decision.outcome.to_string(),
        reason: decision
            .reason
            .as_ref()
            .map(|reason| reason.code().to_owned())
            .unwrap_or_default(),
        ended: decision.moment == Moment::Ended,
        bytes_up: decision.bytes_up,
        bytes_down: decision.bytes_down,
    }
}
