//! [`Names`]: host names that lead to one sandbox each. The first label is a [capability](crate::capability).

use std::fmt;
use std::str::FromStr;

use crate::capability::Capabilities;
use crate::id::SandboxId;

/// Where sandboxes are reached from outside: `HOST`, or `HOST:PORT` where clients need one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    host: String,
    port: Option<u16>,
}

/// That is no domain.
#[derive(Debug, thiserror::Error)]
#[error("a domain is HOST or HOST:PORT, with letters, digits, hyphens and dots")]
pub struct InvalidDomain;

impl FromStr for Domain {
    type Err = InvalidDomain;

    fn from_str(text: &str) -> Result<Self, InvalidDomain> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| InvalidDomain)?)),
            None => (text, None),
        };
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        // With the label before it, a name has to be one of DNS.
        if host.len() > 200 || !host.split('.').all(is_label) {
            return Err(InvalidDomain);
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Makes names below a domain and knows them again.
#[derive(Debug)]
pub struct Names {
    domain: Domain,
    labels: Capabilities,
}

impl Names {
    /// Names that nobody can guess.
    ///
    /// # Errors
    /// The kernel has no randomness.
    pub fn below(domain: Domain) -> Result<Self, getrandom::Error> {
        let labels = Capabilities::generate()?;
        Ok(Self { domain, labels })
    }

    /// A new name of a sandbox, with the port that clients need.
    ///
    /// # Errors
    /// The kernel has no randomness.
    pub fn of(&self, id: &SandboxId) -> Result<String, getrandom::Error> {
        self.labels.of(id).map(|label| self.name(&label))
    }

    /// Whose name this is, and the name as [`Names::of`] gave it out. `host` is a request's: with a port or without.
    pub fn read(&self, host: &str) -> Option<(SandboxId, String)> {
        let host = host.split(':').next()?.to_ascii_lowercase();
        let label = host.strip_suffix(&self.domain.host)?.strip_suffix('.')?;
        let id = self.labels.read(label)?;
        Some((id, self.name(label)))
    }

    fn name(&self, label: &str) -> String {
        format!("{label}.{}", self.domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(domain: &str) -> Names {
        Names::below(domain.parse().unwrap()).unwrap()
    }

    #[test]
    fn a_name_leads_to_its_sandbox() {
        let id = SandboxId::generate();
        for domain in ["sandboxes.example.com", "localhost:8443"] {
            let names = names(domain);
            let name = names.of(&id).unwrap();
            assert!(name.ends_with(&format!(".{domain}")), "{name}");
            assert!(name.split('.').next().unwrap().len() <= 63);
            assert_eq!(names.read(&name), Some((id.clone(), name.clone())));
            let host = name.split(':').next().unwrap();
            assert_eq!(names.read(&host.to_uppercase()).unwrap().1, name);
            assert_ne!(names.of(&id).unwrap(), name);
        }
    }

    #[test]
    fn what_was_not_given_out_leads_nowhere() {
        let (ours, theirs) = (names("a.example"), names("a.example"));
        let id = SandboxId::generate();
        let name = ours.of(&id).unwrap();
        assert_eq!(theirs.read(&name), None);
        let other = name.replacen(id.digits(), SandboxId::generate().digits(), 1);
        let long = format!("x{name}");
        let deeper = name.replacen('.', ".b.", 1);
        let elsewhere = name.replace("a.example", "b.example");
        let cut = &name[1..];
        for bad in [
            "",
            ".",
            "a.example",
            ".a.example",
            "ü.a.example",
            &other,
            &long,
            &deeper,
            &elsewhere,
            cut,
        ] {
            assert_eq!(ours.read(bad), None, "{bad}");
        }
    }

    #[test]
    fn domains_are_checked() {
        for bad in [
            "",
            ".",
            "a..b",
            "-a",
            "a_b",
            "*.a",
            "a:",
            "a:x",
            "a:70000",
            "a/b",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<Domain>().is_err(), "{bad}");
        }
        assert_eq!(
            "A.Example:1".parse::<Domain>().unwrap().to_string(),
            "a.example:1"
        );
    }
}
