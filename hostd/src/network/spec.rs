//! What a client may ask of a network.

use egress::policy::{Policy, PolicySpec};

use crate::error::{Error, Result, chain};

/// A checked request for a network.
#[derive(Clone, Debug, Default)]
pub struct NetworkSpec {
    /// What can be reached.
    pub policy: PolicySpec,
}

impl NetworkSpec {
    /// The policy, as it is applied.
    pub fn policy(&self) -> Result<Policy> {
        parse_policy(&self.policy)
    }
}

/// Reads a policy; what is wrong with it is told in its own words.
pub fn parse_policy(spec: &PolicySpec) -> Result<Policy> {
    Policy::parse(spec).map_err(|error| Error::invalid("network.policy", chain(&error)))
}
