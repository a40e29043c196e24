//! Identifiers: a prefix and 26 characters of Crockford's base 32, which is a UUIDv7. They sort by
//! the time they were made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Crockford's alphabet in lower case: no i, l, o or u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// 128 bits in groups of five.
const ENCODED_LEN: usize = 26;

/// Names one sandbox, on this host and for ever: `sbx_` and 26 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxId(String);

/// A string that is no sandbox id.
#[derive(Debug, thiserror::Error)]
#[error("a sandbox id is `sbx_` and 26 characters of 0-9a-z without i, l, o and u")]
pub struct InvalidId;

impl SandboxId {
    const PREFIX: &'static str = "sbx_";

    /// A new id.
    pub fn generate() -> Self {
        Self(format!("{}{}", Self::PREFIX, encode(Uuid::now_v7())))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id as a DNS label, which may not hold an underscore.
    pub fn hostname(&self) -> String {
        self.0.replace('_', "-")
    }
}

impl FromStr for SandboxId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text.strip_prefix(Self::PREFIX).ok_or(InvalidId)?;
        let valid = digits.len() == ENCODED_LEN && digits.bytes().all(|b| ALPHABET.contains(&b));
        valid.then(|| Self(text.to_owned())).ok_or(InvalidId)
    }
}

impl TryFrom<String> for SandboxId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<SandboxId> for String {
    fn from(id: SandboxId) -> String {
        id.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A new snapshot id: `snp_` and 26 characters.
pub fn new_snapshot_id() -> String {
    format!("snp_{}", encode(Uuid::now_v7()))
}

fn encode(uuid: Uuid) -> String {
    let bits = uuid.as_u128();
    (0..ENCODED_LEN)
        .rev()
        .map(|group| {
            let digit = (bits >> (group * 5)) & 31;
            char::from(ALPHABET[digit as usize])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_and_sort_by_time() {
        let first = SandboxId::generate();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let second = SandboxId::generate();
        assert_eq!(first.as_str().parse::<SandboxId>().unwrap(), first);
        assert_eq!(first.as_str().len(), 30);
        assert!(first < second);
        assert!(!first.hostname().contains('_'));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for bad in [
            "",
            "sbx_",
            "snp_00000000000000000000000000",
            "sbx_0000000000000000000000000u",
            "sbx_../../../../../../../../etc",
        ] {
            assert!(bad.parse::<SandboxId>().is_err(), "{bad}");
        }
    }
}
