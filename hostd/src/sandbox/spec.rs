//! What a client may ask for, and its limits.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::network::NetworkSpec;

/// Labels of a sandbox or snapshot.
pub const MAX_LABELS: usize = 64;
/// Bytes of a label's key.
pub const MAX_LABEL_KEY: usize = 63;
/// Bytes of a label's value.
pub const MAX_LABEL_VALUE: usize = 255;
/// Variables of a sandbox's environment.
pub const MAX_ENV_VARS: usize = 1024;
/// Bytes of all variables: they travel in one message to the agent and count against each program's
/// own limit.
pub const MAX_ENV_BYTES: usize = 128 << 10;
/// Bytes of a DNS label.
pub const MAX_HOSTNAME: usize = 63;
/// Bytes that a client may add to the kernel's command line, of whose 2048 the image has the rest.
pub const MAX_EXTRA_CMDLINE: usize = 1024;
/// What the vmm can do.
pub const MAX_VCPUS: u32 = 8;
/// In bytes; a kernel needs this much to start.
pub const MIN_MEMORY: u64 = 64 << 20;
/// In bytes.
pub const MAX_MEMORY: u64 = 16 << 30;
/// In bytes: the unit of guest memory.
pub const MEMORY_STEP: u64 = 2 << 20;
/// A sandbox that should live longer has no timeout.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(366 * 24 * 3600);
/// A guest that does not speak within this never will.
pub const MAX_BOOT_TIMEOUT: Duration = Duration::from_secs(3600);

/// A checked request to create a sandbox.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What it is made from.
    pub source: Source,
    /// The client's marks.
    pub labels: BTreeMap<String, String>,
    /// The environment of its processes.
    pub env: BTreeMap<String, String>,
    /// When it ends by itself.
    pub timeout: Option<Duration>,
    /// A DNS label; its id when absent.
    pub hostname: Option<String>,
    /// How long the guest may take; the host's setting when absent.
    pub boot_timeout: Option<Duration>,
    /// What it may reach; nothing when absent.
    pub network: Option<NetworkSpec>,
}

/// What a sandbox is made from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Restored from a snapshot, by id or name.
    Snapshot(String),
    /// Booted from an image.
    Image {
        /// The image's name.
        name: String,
        /// The image's default when absent.
        vcpus: Option<u32>,
        /// Bytes; the image's default when absent.
        memory_bytes: Option<u64>,
        /// Added to the kernel's command line.
        extra_cmdline: String,
    },
}

impl Spec {
    /// Checks everything that can be checked without looking at the host.
    pub fn check(&self) -> Result<()> {
        check_labels(&self.labels)?;
        check_env(&self.env)?;
        if let Some(hostname) = &self.hostname {
            check_hostname(hostname)?;
        }
        check_duration("timeout", self.timeout, MAX_TIMEOUT)?;
        check_duration("boot_timeout", self.boot_timeout, MAX_BOOT_TIMEOUT)?;
        if let Some(network) = &self.network {
            network.check()?;
        }
        match &self.source {
            Source::Snapshot(reference) if reference.is_empty() => {
                Err(Error::invalid("snapshot", "is empty; give an id or a name"))
            }
            Source::Snapshot(_) => Ok(()),
            Source::Image {
                vcpus,
                memory_bytes,
                extra_cmdline,
                ..
            } => {
                check_machine(*vcpus, *memory_bytes)?;
                check_cmdline(extra_cmdline)
            }
        }
    }
}

/// Checks labels, of sandboxes, snapshots and filters.
pub fn check_labels(labels: &BTreeMap<String, String>) -> Result<()> {
    if labels.len() > MAX_LABELS {
        return Err(Error::invalid(
            "labels",
            format!("{} are too many; {MAX_LABELS} may be given", labels.len()),
        ));
    }
    for (key, value) in labels {
        if key.is_empty() || key.len() > MAX_LABEL_KEY {
            return Err(Error::invalid(
                "labels",
                format!("a key has 1 to {MAX_LABEL_KEY} bytes"),
            ));
        }
        if value.len() > MAX_LABEL_VALUE {
            return Err(Error::invalid(
                "labels",
                format!("a value has at most {MAX_LABEL_VALUE} bytes"),
            ));
        }
    }
    Ok(())
}

/// Checks a machine's size; absent values take the image's.
pub fn check_machine(vcpus: Option<u32>, memory_bytes: Option<u64>) -> Result<()> {
    if vcpus.is_some_and(|vcpus| !(1..=MAX_VCPUS).contains(&vcpus)) {
        return Err(Error::invalid(
            "vcpus",
            format!("must be from 1 to {MAX_VCPUS}"),
        ));
    }
    let fits = |bytes: u64| {
        (MIN_MEMORY..=MAX_MEMORY).contains(&bytes) && bytes.is_multiple_of(MEMORY_STEP)
    };
    if memory_bytes.is_some_and(|bytes| !fits(bytes)) {
        return Err(Error::invalid(
            "memory_bytes",
            "must be from 64 MiB to 16 GiB, in steps of 2 MiB",
        ));
    }
    Ok(())
}

fn check_env(env: &BTreeMap<String, String>) -> Result<()> {
    let bytes: usize = env
        .iter()
        .map(|(key, value)| key.len() + value.len() + 2)
        .sum();
    if env.len() > MAX_ENV_VARS || bytes > MAX_ENV_BYTES {
        return Err(Error::invalid(
            "env",
            format!("at most {MAX_ENV_VARS} variables of {MAX_ENV_BYTES} bytes together"),
        ));
    }
    for (key, value) in env {
        if key.is_empty() || key.contains(['=', '\0']) {
            return Err(Error::invalid(
                "env",
                "a name is not empty and has neither `=` nor a zero byte",
            ));
        }
        if value.contains('\0') {
            return Err(Error::invalid("env", "a value has no zero byte"));
        }
    }
    Ok(())
}

fn check_hostname(name: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let valid = (1..=MAX_HOSTNAME).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if valid {
        Ok(())
    } else {
        Err(Error::invalid(
            "hostname",
            "must be a DNS label: letters, digits and inner hyphens, at most 63",
        ))
    }
}

fn check_duration(field: &'static str, duration: Option<Duration>, most: Duration) -> Result<()> {
    match duration {
        Some(duration) if duration.is_zero() || duration > most => Err(Error::invalid(
            field,
            format!("must be more than nothing and at most {} s", most.as_secs()),
        )),
        _ => Ok(()),
    }
}

fn check_cmdline(extra: &str) -> Result<()> {
    if extra.len() > MAX_EXTRA_CMDLINE
        || !extra
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    {
        return Err(Error::invalid(
            "extra_cmdline",
            format!("must be at most {MAX_EXTRA_CMDLINE} printable ASCII characters"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            source: Source::Snapshot("default".into()),
            labels: BTreeMap::new(),
            env: BTreeMap::new(),
            timeout: None,
            hostname: None,
            boot_timeout: None,
            network: None,
        }
    }

    fn refused(spec: Spec) -> &'static str {
        match spec.check() {
            Err(Error::Invalid { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_impossible_value_is_refused_by_name() {
        spec().check().unwrap();
        let pair = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let image = |vcpus, memory_bytes, extra: &str| Source::Image {
            name: "default".into(),
            vcpus,
            memory_bytes,
            extra_cmdline: extra.into(),
        };
        assert_eq!(
            refused(Spec {
                source: Source::Snapshot(String::new()),
                ..spec()
            }),
            "snapshot"
        );
        assert_eq!(
            refused(Spec {
                labels: pair("", "x"),
                ..spec()
            }),
            "labels"
        );
        assert_eq!(
            refused(Spec {
                labels: pair("k", &"x".repeat(256)),
                ..spec()
            }),
            "labels"
        );
        assert_eq!(
            refused(Spec {
                env: pair("A=B", "x"),
                ..spec()
            }),
            "env"
        );
        assert_eq!(
            refused(Spec {
                env: pair("A", &"x".repeat(MAX_ENV_BYTES)),
                ..spec()
            }),
            "env"
        );
        assert_eq!(
            refused(Spec {
                hostname: Some("a_b".into()),
                ..spec()
            }),
            "hostname"
        );
        assert_eq!(
            refused(Spec {
                timeout: Some(Duration::ZERO),
                ..spec()
            }),
            "timeout"
        );
        assert_eq!(
            refused(Spec {
                source: image(Some(9), None, ""),
                ..spec()
            }),
            "vcpus"
        );
        assert_eq!(
            refused(Spec {
                source: image(None, Some((64 << 20) + 1), ""),
                ..spec()
            }),
            "memory_bytes"
        );
        assert_eq!(
            refused(Spec {
                source: image(None, None, "a\nb"),
                ..spec()
            }),
            "extra_cmdline"
        );
    }
}
