//! Messages of networks and domain types, one into the other.

use std::num::NonZeroU32;

use egress::audit::{Decision, Moment, SecretName};
use egress::policy::{Fallback, PolicySpec};
use egress::processors::Processor;
use egress::secrets::sealed::{Sealed, SealingKey, UnsealError};
use egress::secrets::{Headers, Hosts, Secret, SecretValue, Surface};
use protocol::hostd::v1 as wire;
use protocol::hostd::v1::secret::Material;

use super::processor;
use crate::error::{Error, Result, chain};
use crate::network::{Attachment, NetworkLimits, NetworkSpec, SecretSpec};
use crate::tenancy::Caller;

/// Who opens what is sealed, and for whom.
#[derive(Clone, Copy)]
pub struct Opener<'a> {
    /// The host's key.
    pub key: &'a SealingKey,
    /// Who has sent it.
    pub caller: &'a Caller,
}

/// A client's request; its policy is not yet checked. `opener` opens what is sealed.
pub fn spec(network: wire::Network, opener: Opener<'_>) -> Result<NetworkSpec> {
    let inherit = network.inheritance() == wire::SecretInheritance::Inherit;
    let limits = network.limits.unwrap_or_default();
    Ok(NetworkSpec {
        policy: policy(network.policy.unwrap_or_default()),
        secrets: secrets(network.secrets, opener)?,
        inherit,
        limits: NetworkLimits {
            egress_bytes: limits.egress_bytes_per_second,
            ingress_bytes: limits.ingress_bytes_per_second,
            egress_packets: limits.egress_packets_per_second,
            ingress_packets: limits.ingress_packets_per_second,
        },
    })
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

/// A client's secrets. `opener` opens those that are sealed.
pub fn secrets(secrets: Vec<wire::Secret>, opener: Opener<'_>) -> Result<Vec<SecretSpec>> {
    let secrets = secrets.into_iter();
    secrets.map(|secret| self::secret(secret, opener)).collect()
}

fn secret(secret: wire::Secret, opener: Opener<'_>) -> Result<SecretSpec> {
    let name = variable(&secret.name)?;
    let wrong = |problem| wrong(&name, problem);
    let (value, hosts, sealed_for) = match secret.material {
        None => return Err(wrong("has no value".into())),
        Some(Material::Value(value)) => {
            let value = SecretValue::new(value).map_err(|error| wrong(error.to_string()))?;
            (value, hosts(&secret.hosts).map_err(wrong)?, None)
        }
        Some(Material::Sealed(text)) => {
            let unsealed = unseal(&text, &name, &secret.hosts, opener)?;
            (unsealed.value, unsealed.hosts, Some(unsealed.sealed_for))
        }
    };
    let processor = processor::read(secret.processor, &name, &hosts, opener)?;
    if let Some(sealed_for) = &sealed_for {
        may_be_sent(&processor, sealed_for).map_err(wrong)?;
    }
    let placeholder = match secret.placeholder.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|error| wrong(chain(&error)))?),
    };
    let surface = surface(secret.surface.unwrap_or_default()).map_err(wrong)?;
    Ok(SecretSpec {
        name,
        value,
        processor,
        hosts,
        surface,
        placeholder,
    })
}

/// What is wrong with a secret.
pub(super) fn wrong(name: &SecretName, problem: String) -> Error {
    Error::invalid("network.secrets", format!("{name} {problem}"))
}

/// What was sealed goes nowhere else, a token endpoint included: whoever has the text names that, and not the value's owner.
pub(super) fn may_be_sent(processor: &Processor, sealed_for: &Hosts) -> Result<(), String> {
    let Processor::OAuth2(oauth2) = processor else {
        return Ok(());
    };
    let endpoint = oauth2.spec().endpoint.target();
    sealed_for
        .contain(endpoint)
        .then_some(())
        .ok_or_else(|| format!("is not sealed for its token endpoint, {}", endpoint.host))
}

/// What was sealed, opened.
pub(super) struct Unsealed {
    /// The value.
    pub(super) value: SecretValue,
    /// Where it is to go.
    pub(super) hosts: Hosts,
    /// Where it may go.
    pub(super) sealed_for: Hosts,
}

/// Opens a sealed value of the secret with this name, for these hosts or for all that it is sealed for.
pub(super) fn unseal(
    text: &str,
    name: &SecretName,
    hosts: &[String],
    opener: Opener<'_>,
) -> Result<Unsealed> {
    let wrong = |problem| wrong(name, problem);
    let sealed: Sealed = text.parse().map_err(|error| wrong(chain(&error)))?;
    if !opener.caller.owns(sealed.organisation()) {
        return Err(wrong("is not sealed for your organisation".into()));
    }
    let hosts = sealed_hosts(&sealed, name, hosts).map_err(wrong)?;
    Ok(Unsealed {
        value: open(&sealed, name, opener.key)?,
        hosts,
        sealed_for: sealed.hosts().clone(),
    })
}

fn hosts(texts: &[String]) -> Result<Hosts, String> {
    Hosts::parse(texts).map_err(|error| chain(&error))
}

/// Those that it is sealed for, or some of them.
fn sealed_hosts(sealed: &Sealed, name: &SecretName, wanted: &[String]) -> Result<Hosts, String> {
    // The name that it is sealed with may be anything, and is not repeated.
    if sealed.name() != name.to_string() {
        return Err("is sealed with another name".into());
    }
    if wanted.is_empty() {
        return Ok(sealed.hosts().clone());
    }
    let wanted = hosts(wanted)?;
    let for_hosts: Vec<_> = sealed.hosts().texts().collect();
    let other = wanted.texts().find(|host| !for_hosts.contains(host));
    match other {
        Some(other) => Err(format!("is not sealed for {other}")),
        None => Ok(wanted),
    }
}

fn open(sealed: &Sealed, name: &SecretName, key: &SealingKey) -> Result<SecretValue> {
    key.unseal(sealed).map_err(|error| match error {
        UnsealError::OtherKey { .. } => Error::SealedForAnotherHost {
            name: name.to_string(),
            problem: error.to_string(),
        },
        error => Error::invalid("network.secrets", format!("{name}: {}", chain(&error))),
    })
}

/// A secret's name is that of a variable. One that is none may be a value by mistake, and is not repeated.
fn variable(name: &str) -> Result<SecretName> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let problem = "a name is no variable's: letters, digits and `_`, not beginning with a digit";
    let wrong = || Error::invalid("network.secrets", problem);
    if name.starts_with(|first: char| first.is_ascii_digit()) || !name.bytes().all(known) {
        return Err(wrong());
    }
    name.parse().map_err(|_| wrong())
}

fn surface(surface: wire::SecretSurface) -> Result<Surface, String> {
    let methods = surface.methods.iter().map(|method| method.parse());
    let names = surface.headers.iter().map(|name| name.parse());
    let names: Vec<_> = names
        .collect::<Result<_, _>>()
        .map_err(|_| "has a header's name that is none")?;
    Ok(Surface {
        methods: methods
            .collect::<Result<_, _>>()
            .map_err(|_| "has a method that is none")?,
        path_prefixes: surface.path_prefixes,
        headers: match (surface.no_headers, names.is_empty()) {
            (true, true) => Headers::None,
            (true, false) => return Err("has headers, and none of them".into()),
            (false, true) => Headers::All,
            (false, false) => Headers::Named(names),
        },
        path: surface.path,
        query: surface.query,
        body: surface.body,
        websocket: surface.websocket,
        max_uses: NonZeroU32::new(surface.max_uses),
        plaintext: surface.plaintext,
    })
}

/// A network as clients see it.
pub fn status(sandbox_id: &str, attachment: &Attachment) -> wire::NetworkStatus {
    let policy = attachment.policy();
    let bindings = attachment.secrets();
    let mut secrets: Vec<_> = bindings
        .secrets()
        .iter()
        .map(|secret| shown(secret))
        .collect();
    secrets.sort_by(|one, other| one.name.cmp(&other.name));
    wire::NetworkStatus {
        sandbox_id: sandbox_id.to_owned(),
        policy: Some(wire::NetworkPolicy {
            allow: policy.allow,
            deny: policy.deny,
            allow_by_default: policy.fallback == Fallback::Allow,
        }),
        secrets,
        limits: Some(limits(attachment.limits())),
        ca_certificate_pem: attachment.authority_pem().to_owned(),
        counts: Some(counts(attachment)),
    }
}

fn limits(limits: NetworkLimits) -> wire::NetworkLimits {
    wire::NetworkLimits {
        egress_bytes_per_second: limits.egress_bytes,
        ingress_bytes_per_second: limits.ingress_bytes,
        egress_packets_per_second: limits.egress_packets,
        ingress_packets_per_second: limits.ingress_packets,
    }
}

fn counts(attachment: &Attachment) -> wire::NetworkCounts {
    let figures = attachment.figures();
    let (connections, dropped) = (figures.connections, figures.dropped);
    wire::NetworkCounts {
        connections: connections.accepted,
        limited: connections.limited,
        refused: connections.refused,
        failed: connections.failed,
        passed: connections.passed,
        opened: connections.opened,
        dropped_packets: dropped.fragments + dropped.spoofed + dropped.floods + dropped.others,
    }
}

/// A secret without its value.
fn shown(secret: &Secret) -> wire::SecretStatus {
    let surface = secret.surface();
    wire::SecretStatus {
        name: secret.name().to_string(),
        hosts: secret.hosts().texts().collect(),
        placeholder: secret.placeholder().to_string(),
        surface: Some(wire::SecretSurface {
            methods: surface.methods.iter().map(ToString::to_string).collect(),
            path_prefixes: surface.path_prefixes.clone(),
            headers: match &surface.headers {
                Headers::Named(names) => names.iter().map(ToString::to_string).collect(),
                Headers::All | Headers::None => Vec::new(),
            },
            no_headers: surface.headers == Headers::None,
            path: surface.path,
            query: surface.query,
            body: surface.body,
            websocket: surface.websocket,
            max_uses: surface.max_uses.map_or(0, NonZeroU32::get),
            plaintext: surface.plaintext,
        }),
        processor: processor::shown(secret.processor()),
    }
}

/// A decision as clients see it.
pub fn decision(decision: &Decision) -> wire::NetworkDecision {
    wire::NetworkDecision {
        time: Some(decision.time.into()),
        sandbox_id: decision.sandbox.to_string(),
        protocol: decision.protocol.to_string(),
        host: text(decision.host.as_ref()),
        port: decision.port.into(),
        address: text(decision.address.as_ref()),
        method: text(decision.method.as_ref()),
        path: text(decision.path.as_ref()),
        secrets: decision.secrets.iter().map(ToString::to_string).collect(),
        outcome: decision.outcome.to_string(),
        reason: text(decision.reason.as_ref()),
        ended: decision.moment == Moment::Ended,
        bytes_up: decision.bytes_up,
        bytes_down: decision.bytes_down,
    }
}

fn text(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> wire::Secret {
        wire::Secret {
            name: "API_KEY".into(),
            material: Some(Material::Value(b"sk-live-123456".to_vec())),
            hosts: vec!["api.example".into()],
            ..Default::default()
        }
    }

    fn read(secret: wire::Secret) -> Result<SecretSpec> {
        opened(secret, &SealingKey::generate().unwrap())
    }

    fn opened(secret: wire::Secret, key: &SealingKey) -> Result<SecretSpec> {
        let caller = &Caller::operator();
        super::secret(secret, Opener { key, caller })
    }

    #[test]
    fn a_sealed_secret_is_sent_to_no_token_endpoint_of_the_senders_choice() {
        use wire::secret_processor::Kind;
        let host = SealingKey::generate().unwrap();
        let hosts = Hosts::parse(&["api.example", "auth.example"]).unwrap();
        let value = SecretValue::new("refresh-123456").unwrap();
        let name = "API_KEY".parse().unwrap();
        let text = host.public().seal(&name, &hosts, None, &value).unwrap();
        let with = |endpoint: &str| wire::Secret {
            material: Some(Material::Sealed(text.to_string())),
            hosts: vec!["api.example".into()],
            processor: Some(wire::SecretProcessor {
                kind: Some(Kind::Oauth2(wire::OAuth2Processor {
                    token_url: endpoint.into(),
                    client_id: "x".into(),
                    grant: Some(wire::o_auth2_processor::Grant::RefreshToken(
                        Default::default(),
                    )),
                    ..Default::default()
                })),
            }),
            ..key()
        };
        assert!(opened(with("https://auth.example/token"), &host).is_ok());
        let error = opened(with("https://evil.example/token"), &host).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("not sealed for its token endpoint"), "{text}");
        // What is not sealed is its sender's own.
        let own = wire::Secret {
            material: key().material,
            ..with("https://evil.example/token")
        };
        assert!(opened(own, &host).is_ok());
    }

    #[test]
    fn a_sealed_secret_is_for_its_name_and_hosts() {
        let host = SealingKey::generate().unwrap();
        let hosts = Hosts::parse(&["api.example", "b.example"]).unwrap();
        let value = SecretValue::new("sk-live-123456").unwrap();
        let public = host.public();
        let text = public.seal(&"API_KEY".parse().unwrap(), &hosts, None, &value);
        let sealed = |name: &str, hosts: &[&str]| wire::Secret {
            name: name.into(),
            material: Some(Material::Sealed(text.as_ref().unwrap().to_string())),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        let all = opened(sealed("API_KEY", &[]), &host).unwrap();
        assert_eq!(
            (all.value.expose(), &all.hosts),
            (&b"sk-live-123456"[..], &hosts)
        );
        let one = opened(sealed("API_KEY", &["B.example"]), &host).unwrap();
        assert_eq!(one.hosts.texts().collect::<Vec<_>>(), ["b.example"]);
        for (name, hosts) in [
            ("OTHER_KEY", &[][..]),
            ("API_KEY", &["evil.example"]),
            ("API_KEY", &["*.api.example"]),
        ] {
            let error = opened(sealed(name, hosts), &host).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{error}");
        }
        let elsewhere = read(sealed("API_KEY", &[])).unwrap_err();
        let other = matches!(elsewhere, Error::SealedForAnotherHost { .. });
        assert!(other, "{elsewhere}");
    }

    #[test]
    fn a_secret_that_is_wrong_is_named_and_not_shown() {
        assert!(read(key()).is_ok());
        let wrong: [fn(&mut wire::Secret); 8] = [
            |s| s.name = "1KEY".into(),
            |s| s.name = "sk-live-123456".into(),
            |s| s.name = String::new(),
            |s| s.material = None,
            |s| s.material = Some(Material::Value(b"short".to_vec())),
            |s| s.material = Some(Material::Sealed("sk-live-123456".into())),
            |s| s.hosts = vec!["*".into()],
            |s| s.placeholder = "sk-live-123456".into(),
        ];
        for change in wrong {
            let mut broken = key();
            change(&mut broken);
            let text = read(broken).unwrap_err().to_string();
            assert!(!text.contains("123456"), "{text}");
        }
    }

    #[test]
    fn contradicting_headers_are_refused() {
        let both = wire::SecretSurface {
            headers: vec!["x-key".into()],
            no_headers: true,
            ..Default::default()
        };
        assert!(surface(both).is_err());
        assert_eq!(surface(Default::default()).unwrap(), Surface::default());
    }
}
