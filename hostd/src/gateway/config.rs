//! What a client asks of a new sandbox: the header `x-deno-sandbox-config`, JSON in base64.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use egress::policy::{Fallback, PolicySpec};
use egress::processors::Processor;
use egress::secrets::{Hosts, SecretValue, Surface};
use serde::Deserialize;
use serde_json::Value;

use super::error::ApiError;
use crate::error::chain;
use crate::network::{NetworkLimits, NetworkSpec, SecretSpec};
use crate::sandbox::spec::{MAX_TIMEOUT, Source, Spec};

const HEADER: &str = "x-deno-sandbox-config";
/// MiB of memory that a client may ask for.
const MEMORY: std::ops::RangeInclusive<u64> = 1..=16384;
/// What the Python SDK asks for when its user asks for nothing.
const NO_WISH: u64 = 1280;
/// Memory is given in steps of so many MiB.
const MEMORY_STEP: u64 = 2;

/// As the SDKs write it; each of them some of it.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    /// Milliseconds since 1970 (JavaScript).
    stop_at_ms: Option<u64>,
    /// `session`, `30s` or `2m` (Python).
    timeout: Option<String>,
    memory_mb: Option<u64>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    env: Option<BTreeMap<String, String>>,
    root: Option<Root>,
    volumes: Option<Value>,
    allow_net: Option<Vec<String>>,
    secrets: Option<BTreeMap<String, Secret>>,
    ssh: Option<bool>,
    port: Option<u16>,
}

#[derive(Debug, Deserialize)]
struct Root {
    volume: String,
}

#[derive(Deserialize)]
struct Secret {
    hosts: Vec<String>,
    value: String,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

/// A sandbox that is asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) spec: Spec,
    /// Whether it ends when its client goes.
    pub(super) session: bool,
    /// What it is to have at least.
    pub(super) memory_bytes: Option<u64>,
    /// Whether the client named what it is made of.
    pub(super) rooted: bool,
}

/// Reads it. `root`: the snapshot, if it names none; `networks`: whether this host has some.
pub(super) fn read(headers: &HeaderMap, root: &str, networks: bool) -> Result<Wanted, ApiError> {
    let asked = match headers.get(HEADER) {
        None => Asked::default(),
        Some(value) => {
            let bytes = STANDARD.decode(value.as_bytes());
            let bytes = bytes.map_err(|_| ApiError::invalid(format!("{HEADER} is no base64")))?;
            serde_json::from_slice(&bytes)
                .map_err(|error| ApiError::invalid(format!("{HEADER}: {error}")))?
        }
    };
    asked.wanted(root, networks)
}

impl Asked {
    fn wanted(self, root: &str, networks: bool) -> Result<Wanted, ApiError> {
        if self
            .volumes
            .as_ref()
            .is_some_and(|volumes| !is_empty(volumes))
        {
            return Err(ApiError::unsupported("volumes"));
        }
        if self.ssh == Some(true) {
            return Err(ApiError::unsupported("ssh"));
        }
        if self.port.is_some() {
            return Err(ApiError::unsupported("port"));
        }
        if self.memory_mb.is_some_and(|mb| !MEMORY.contains(&mb)) {
            return Err(ApiError::invalid("memory: is not from 1 to 16384 MiB"));
        }
        let timeout = self.timeout()?;
        let wish = self.memory_mb.filter(|mb| *mb != NO_WISH);
        let memory_bytes = wish.map(|mb| mb.next_multiple_of(MEMORY_STEP) << 20);
        let rooted = self.root.is_some();
        let snapshot = self
            .root
            .map_or_else(|| root.to_owned(), |root| root.volume);
        let network = match (&self.allow_net, &self.secrets) {
            // What nobody asked for, a host may be without.
            (None, None) if !networks => None,
            _ => Some(network(self.allow_net, self.secrets.unwrap_or_default())?),
        };
        Ok(Wanted {
            session: timeout.is_none(),
            memory_bytes,
            rooted,
            spec: Spec {
                source: Source::Snapshot(snapshot),
                labels: self.labels.unwrap_or_default(),
                env: self.env.unwrap_or_default(),
                timeout,
                hostname: None,
                boot_timeout: None,
                network,
            },
        })
    }

    /// How long it lives; nothing: as long as its client is there.
    fn timeout(&self) -> Result<Option<Duration>, ApiError> {
        if let Some(at) = self.stop_at_ms {
            return until(at).map(Some);
        }
        let text = match self.timeout.as_deref() {
            None | Some("session") => return Ok(None),
            Some(text) => text,
        };
        let wrong = || {
            ApiError::invalid(format!(
                "timeout: {text:?} is none, as \"session\", \"600s\" and \"15m\" are"
            ))
        };
        let number = |digits: &str, seconds: u64| {
            let number: u64 = digits.parse().ok()?;
            number.checked_mul(seconds).filter(|seconds| *seconds > 0)
        };
        let seconds = match (text.strip_suffix('s'), text.strip_suffix('m')) {
            (Some(digits), _) => number(digits, 1),
            (_, Some(digits)) => number(digits, 60),
            _ => None,
        };
        let timeout = Duration::from_secs(seconds.ok_or_else(wrong)?);
        if timeout > MAX_TIMEOUT {
            return Err(wrong());
        }
        Ok(Some(timeout))
    }
}

/// From now to a time in milliseconds since 1970.
pub(super) fn until(at_ms: u64) -> Result<Duration, ApiError> {
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(at_ms));
    let left = at.and_then(|at| at.duration_since(SystemTime::now()).ok());
    let left = left.filter(|left| !left.is_zero() && *left <= MAX_TIMEOUT);
    left.ok_or_else(|| ApiError::invalid("stop_at_ms: is not within a year from now"))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    }
}

/// Everything is allowed unless hosts are named, as in Deno Sandbox; what is not public is not reached in either case.
fn network(
    allow_net: Option<Vec<String>>,
    secrets: BTreeMap<String, Secret>,
) -> Result<NetworkSpec, ApiError> {
    let secrets = secrets
        .into_iter()
        .map(|(name, asked)| secret(&name, asked));
    Ok(NetworkSpec {
        policy: PolicySpec {
            fallback: match allow_net {
                None => Fallback::Allow,
                Some(_) => Fallback::Deny,
            },
            allow: allow_net.unwrap_or_default(),
            deny: Vec::new(),
        },
        secrets: secrets.collect::<Result<_, _>>()?,
        inherit: false,
        limits: NetworkLimits::default(),
    })
}

fn secret(name: &str, asked: Secret) -> Result<SecretSpec, ApiError> {
    // What is no name may be a value by mistake, and is not repeated.
    let parsed = name
        .parse()
        .map_err(|_| ApiError::invalid("secrets: a name is no variable's"))?;
    let wrong = |problem: String| ApiError::invalid(format!("secrets: {parsed}: {problem}"));
    Ok(SecretSpec {
        value: SecretValue::new(asked.value).map_err(|error| wrong(error.to_string()))?,
        processor: Processor::Inject,
        hosts: Hosts::parse(&asked.hosts).map_err(|error| wrong(chain(&error)))?,
        surface: Surface::default(),
        placeholder: None,
        name: parsed,
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn asked(config: Value) -> Result<Wanted, ApiError> {
        let mut headers = HeaderMap::new();
        let text = STANDARD.encode(config.to_string());
        headers.insert(HEADER, HeaderValue::from_str(&text).unwrap());
        read(&headers, "default", true)
    }

    #[test]
    fn what_both_sdks_write_is_read() {
        let python = json!({"memory_mb": 1280, "debug": false, "timeout": "2m", "env": {"A": "b"}, "ssh": false});
        let wanted = asked(python).unwrap();
        assert_eq!(wanted.spec.timeout, Some(Duration::from_secs(120)));
        assert!(!wanted.session);
        assert_eq!(wanted.spec.env["A"], "b");
        let at = SystemTime::now() + Duration::from_secs(600);
        let at = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_millis() as u64;
        let javascript = json!({
            "stop_at_ms": at,
            "memory_mb": 1280,
            "labels": {"job": "7"},
            "root": {"volume": "my-snapshot"},
            "volumes": [],
            "allow_net": ["api.openai.com"],
            "secrets": {"OPENAI_API_KEY": {"hosts": ["api.openai.com"], "value": "sk-live-123456"}},
        });
        let wanted = asked(javascript).unwrap();
        let left = wanted.spec.timeout.unwrap();
        assert!(left > Duration::from_secs(590) && left <= Duration::from_secs(600));
        assert!(matches!(&wanted.spec.source, Source::Snapshot(name) if name == "my-snapshot"));
        let network = wanted.spec.network.unwrap();
        assert_eq!(network.policy.allow, ["api.openai.com"]);
        assert_eq!(network.policy.fallback, Fallback::Deny);
        assert_eq!(network.secrets.len(), 1);
        let wanted = read(&HeaderMap::new(), "default", false).unwrap();
        assert!(wanted.session && wanted.spec.network.is_none());
        let wanted = asked(json!({})).unwrap();
        assert_eq!(
            wanted.spec.network.unwrap().policy.fallback,
            Fallback::Allow
        );
    }

    #[test]
    fn what_makes_no_sense_is_told_without_a_value() {
        for (config, code) in [
            (json!({"timeout": "soon"}), "INVALID_ARGUMENT"),
            (json!({"timeout": "0s"}), "INVALID_ARGUMENT"),
            (
                json!({"timeout": "99999999999999999999m"}),
                "INVALID_ARGUMENT",
            ),
            (json!({"stop_at_ms": 1}), "INVALID_ARGUMENT"),
            (json!({"memory_mb": 0}), "INVALID_ARGUMENT"),
            (json!({"allow_net": "*"}), "INVALID_ARGUMENT"),
            (
                json!({"secrets": {"KEY": {"hosts": [], "value": "sk-live-123456"}}}),
                "INVALID_ARGUMENT",
            ),
            (
                json!({"secrets": {"sk-live 1": {"hosts": ["a.example"], "value": "sk-live-123456"}}}),
                "INVALID_ARGUMENT",
            ),
            (json!({"volumes": {"/data": "vol"}}), "NOT_SUPPORTED"),
            (json!({"port": 8000}), "NOT_SUPPORTED"),
        ] {
            let error = asked(config.clone()).unwrap_err();
            assert_eq!(error.code, code, "{config}");
            assert!(!error.message.contains("sk-live"), "{}", error.message);
        }
    }
}
