//! [`Names`]: host names that lead to one sandbox each.
//!
//! The first label has the sandbox's id, some chance, so that a sandbox may have several, and a truncated HMAC-SHA-256 (RFC 2104,
//! section 5) of both with a key that ends with hostd, as its sandboxes do: who does not know a name cannot guess it.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::id::{SandboxId, encode};

/// Characters of a label: of the sandbox, of chance (30 bits), and of the code (80 bits).
const ID: usize = 20;
const CHANCE: usize = 6;
const CODE: usize = 16;

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
pub struct Names {
    domain: Domain,
    key: [u8; 32],
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Names").field(&self.domain).finish()
    }
}

impl Names {
    /// With a key that nobody has.
    ///
    /// # Errors
    /// The kernel has no randomness.
    pub fn below(domain: Domain) -> Result<Self, getrandom::Error> {
        let mut key = [0; 32];
        getrandom::fill(&mut key)?;
        Ok(Self { domain, key })
    }

    /// A new name of a sandbox, with the port that clients need.
    ///
    /// # Errors
    /// The kernel has no randomness.
    pub fn of(&self, id: &SandboxId) -> Result<String, getrandom::Error> {
        let chance = getrandom::u32()?;
        let chance = encode(chance.into(), CHANCE);
        let code = encode(self.code(id.digits(), &chance), CODE);
        Ok(self.name(&format!("{}-{chance}{code}", id.digits())))
    }

    /// Whose name this is, and the name as [`Names::of`] gave it out. `host` is a request's: with a port or without.
    pub fn read(&self, host: &str) -> Option<(SandboxId, String)> {
        let host = host.split(':').next()?.to_ascii_lowercase();
        let label = host.strip_suffix(&self.domain.host)?.strip_suffix('.')?;
        let (digits, rest) = label.split_at_checked(ID)?;
        let (chance, code) = rest.strip_prefix('-')?.split_at_checked(CHANCE)?;
        let expected = encode(self.code(digits, chance), CODE);
        let same: bool = subtle::ConstantTimeEq::ct_eq(expected.as_bytes(), code.as_bytes()).into();
        let id = SandboxId::from_digits(digits).ok()?;
        same.then(|| (id, self.name(label)))
    }

    fn name(&self, label: &str) -> String {
        format!("{label}.{}", self.domain)
    }

    fn code(&self, digits: &str, chance: &str) -> u128 {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        for part in [digits, "-", chance] {
            mac.update(part.as_bytes());
        }
        let code = mac.finalize().into_bytes();
        code.iter()
            .take(CODE)
            .fold(0, |code, byte| code << 8 | u128::from(*byte))
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
