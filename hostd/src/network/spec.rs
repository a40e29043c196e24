//! What a client may ask of a network.

use std::sync::Arc;

use egress::audit::SecretName;
use egress::policy::{Policy, PolicySpec};
use egress::processors::Processor;
use egress::secrets::{Bindings, BindingsError, Hosts, Placeholder, Secret, SecretValue, Surface};

use crate::error::{Error, Result, chain};

/// A client's request for a network.
#[derive(Clone, Debug, Default)]
pub struct NetworkSpec {
    /// What can be reached.
    pub policy: PolicySpec,
    /// What may be put into requests.
    pub secrets: Vec<SecretSpec>,
    /// Whether placeholders in a snapshot's memory go on standing for the secrets of the sandbox that was saved.
    pub inherit: bool,
    /// How much may pass.
    pub limits: NetworkLimits,
}

/// A client's secret. Its value is wiped when the last clone is dropped, and never shown.
#[derive(Clone, Debug)]
pub struct SecretSpec {
    /// Also the variable in which programs find the placeholder.
    pub name: SecretName,
    /// The value.
    pub value: SecretValue,
    /// What is made of it.
    pub processor: Processor,
    /// Where it may go.
    pub hosts: Hosts,
    /// Where in a request it may be.
    pub surface: Surface,
    /// What the sandbox has in its place; a fresh one when absent.
    pub placeholder: Option<Placeholder>,
}

/// How much may pass each second. 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkLimits {
    /// Bytes of frames that the guest sends.
    pub egress_bytes: u64,
    /// Bytes of frames that it receives.
    pub ingress_bytes: u64,
    /// Frames that it sends.
    pub egress_packets: u64,
    /// Frames that it receives.
    pub ingress_packets: u64,
}

/// A network as a sandbox is going to have it.
#[derive(Clone, Debug)]
pub struct ResolvedNetwork {
    /// What can be reached.
    pub policy: PolicySpec,
    /// What may be put into requests.
    pub secrets: Arc<Bindings>,
    /// How much may pass.
    pub limits: NetworkLimits,
}

impl NetworkSpec {
    /// Checks everything that can be checked without looking at the host.
    pub fn check(&self) -> Result<()> {
        parse_policy(&self.policy)?;
        bind(secrets(&self.secrets, &Bindings::default())?, None).map(drop)
    }

    /// Puts the request together with the secrets of the sandbox that was saved, if it comes from one.
    pub fn resolve(self, saved: Option<&Bindings>) -> Result<ResolvedNetwork> {
        let none = Bindings::default();
        let own = secrets(&self.secrets, saved.unwrap_or(&none))?;
        Ok(ResolvedNetwork {
            secrets: Arc::new(bind(own, saved.filter(|_| self.inherit))?),
            policy: self.policy,
            limits: self.limits,
        })
    }
}

/// Reads a policy; what is wrong with it is told in its own words.
pub fn parse_policy(spec: &PolicySpec) -> Result<Policy> {
    Policy::parse(spec).map_err(|error| Error::invalid("network.policy", chain(&error)))
}

/// The secrets. One that has the name of an earlier one gets its placeholder: programs have it.
pub fn secrets(specs: &[SecretSpec], earlier: &Bindings) -> Result<Vec<Secret>> {
    specs.iter().map(|spec| secret(spec, earlier)).collect()
}

fn secret(spec: &SecretSpec, earlier: &Bindings) -> Result<Secret> {
    let wrong = |error: &(dyn std::error::Error + 'static)| {
        Error::invalid(
            "network.secrets",
            format!("{}: {}", spec.name, chain(error)),
        )
    };
    let known = earlier
        .find(&spec.name)
        .map(|secret| secret.placeholder().clone());
    let placeholder = match spec.placeholder.clone().or(known) {
        Some(placeholder) => placeholder,
        None => Placeholder::generate().map_err(|error| wrong(&error))?,
    };
    Secret::processed(
        spec.name.clone(),
        spec.value.clone(),
        spec.processor.clone(),
        spec.hosts.clone(),
        spec.surface.clone(),
        placeholder,
    )
    .map_err(|error| wrong(&error))
}

fn bind(own: Vec<Secret>, inherited: Option<&Bindings>) -> Result<Bindings> {
    let bound = match inherited {
        Some(inherited) => Bindings::over(own, inherited),
        None => Bindings::new(own),
    };
    Ok(bound?)
}

impl From<BindingsError> for Error {
    fn from(error: BindingsError) -> Self {
        Self::invalid("network.secrets", chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, value: &str) -> SecretSpec {
        SecretSpec {
            name: name.parse().unwrap(),
            value: SecretValue::new(value).unwrap(),
            processor: Processor::Inject,
            hosts: Hosts::parse(&["a.example"]).unwrap(),
            surface: Surface::default(),
            placeholder: None,
        }
    }

    fn network(secrets: Vec<SecretSpec>, inherit: bool) -> NetworkSpec {
        NetworkSpec {
            secrets,
            inherit,
            ..NetworkSpec::default()
        }
    }

    #[test]
    fn a_restored_sandbox_has_what_its_creator_says() {
        let both = vec![spec("ONE", "first-value"), spec("TWO", "second-value")];
        let saved = network(both, false).resolve(None).unwrap().secrets;
        let denied = network(vec![], false).resolve(Some(&saved)).unwrap();
        assert!(denied.secrets.secrets().is_empty());
        let inherited = network(vec![spec("TWO", "another-value")], true);
        let inherited = inherited.resolve(Some(&saved)).unwrap().secrets;
        let value = |name: &str| {
            let secret = inherited.find(&name.parse().unwrap()).unwrap();
            assert_eq!(
                secret.placeholder(),
                saved.find(secret.name()).unwrap().placeholder()
            );
            secret.value().expose().to_vec()
        };
        assert_eq!(value("ONE"), b"first-value");
        assert_eq!(value("TWO"), b"another-value");
    }

    #[test]
    fn what_is_wrong_is_told_without_the_value() {
        let broken = network(vec![spec("KEY", "a-value\r\nx: y")], false)
            .check()
            .unwrap_err();
        let text = broken.to_string();
        assert!(text.contains("KEY") && !text.contains("a-value"), "{text}");
        let twice = network(
            vec![spec("KEY", "first-value"), spec("KEY", "second-value")],
            false,
        );
        assert!(twice.check().is_err());
    }
}
