//! [`Organisation`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest name, in bytes.
const MAX_LEN: usize = 39;

/// Those who share sandboxes and snapshots: `[a-z0-9]` and hyphens between, at most 39 characters, as a DNS label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Organisation(String);

/// A text that names none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an organisation's name has 1 to {MAX_LEN} of a-z, 0-9 and, between them, hyphens")]
pub struct InvalidOrganisation;

impl Organisation {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Organisation {
    type Err = InvalidOrganisation;

    fn from_str(text: &str) -> Result<Self, InvalidOrganisation> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let valid = (1..=MAX_LEN).contains(&text.len())
            && text.bytes().all(|byte| plain(byte) || byte == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        valid
            .then(|| Self(text.to_owned()))
            .ok_or(InvalidOrganisation)
    }
}

impl TryFrom<String> for Organisation {
    type Error = InvalidOrganisation;

    fn try_from(text: String) -> Result<Self, InvalidOrganisation> {
        text.parse()
    }
}

impl From<Organisation> for String {
    fn from(organisation: Organisation) -> String {
        organisation.0
    }
}

impl fmt::Display for Organisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "acme", "acme-2", "0", &"x".repeat(39)] {
            assert!(good.parse::<Organisation>().is_ok(), "{good}");
        }
        let long = "x".repeat(40);
        for bad in ["", "-", "-a", "a-", "A", "a.b", "a:b", "a/b", "é", &long] {
            assert_eq!(
                bad.parse::<Organisation>(),
                Err(InvalidOrganisation),
                "{bad}"
            );
        }
    }
}
