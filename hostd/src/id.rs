//! Identifiers: a prefix and a UUIDv7, or the most of it, in Crockford's base 32. They sort by the time they were made.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Crockford's alphabet in lower case: no i, l, o or u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of a sandbox id: the 100 bits of a UUIDv7 that are left when the last of its chance is cut off, and what
/// says that it is one; 48 bits of time, a count of 42 that begins by chance, and 10 of chance.
const SANDBOX_LEN: usize = 20;
/// Characters of a snapshot id: 128 bits.
const SNAPSHOT_LEN: usize = 26;

/// Names one sandbox, on this host and for ever: `sbx_loc_` and 20 characters.
///
/// This is the form that the SDKs of Deno Sandbox know; theirs has the three letters of a region where ours has `loc`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxId(String);

/// A string that is no sandbox id.
#[derive(Debug, thiserror::Error)]
#[error("a sandbox id is `sbx_loc_` and 20 characters of 0-9a-z without i, l, o and u")]
pub struct InvalidId;

impl SandboxId {
    const PREFIX: &'static str = "sbx_loc_";

    /// A new id.
    pub fn generate() -> Self {
        Self(format!(
            "{}{}",
            Self::PREFIX,
            encode(sortable(Uuid::now_v7()), SANDBOX_LEN)
        ))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is the id's own: without what all ids begin with.
    pub fn digits(&self) -> &str {
        &self.0[Self::PREFIX.len()..]
    }

    /// The id with these digits.
    ///
    /// # Errors
    /// They are none of an id.
    pub fn from_digits(digits: &str) -> Result<Self, InvalidId> {
        format!("{}{digits}", Self::PREFIX).parse()
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
        let valid = digits.len() == SANDBOX_LEN && digits.bytes().all(|b| ALPHABET.contains(&b));
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

/// The first 100 bits of a UUIDv7 (RFC 9562) that are not its version and variant.
fn sortable(uuid: Uuid) -> u128 {
    let bits = uuid.as_u128();
    let field = |from: u32, width: u32| (bits >> from) & ((1 << width) - 1);
    let (time, rand_a, rand_b) = (field(80, 48), field(64, 12), field(22, 40));
    (time << 52) | (rand_a << 40) | rand_b
}

/// A new snapshot id: `snp_` and 26 characters.
pub fn new_snapshot_id() -> String {
    format!("snp_{}", encode(Uuid::now_v7().as_u128(), SNAPSHOT_LEN))
}

/// The lowest `5 * length` bits.
pub(crate) fn encode(bits: u128, length: usize) -> String {
    (0..length)
        .rev()
        .map(|group| {
            let digit = (bits >> (group * 5)) & 31;
            char::from(ALPHABET[digit as usize])
        })
        .collect()
}

/// A letter for each byte, of which five bits count.
pub(crate) fn letters(bytes: &[u8]) -> String {
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(byte & 31)]);
    bytes.iter().map(letter).collect()
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
        assert_eq!(first.as_str().len(), 28);
        assert!(first < second);
        assert!(!first.hostname().contains('_'));
    }

    #[test]
    fn ids_made_at_once_are_different_and_in_order() {
        let ids: Vec<_> = (0..1_000).map(|_| SandboxId::generate()).collect();
        assert!(ids.is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for bad in [
            "",
            "sbx_",
            "snp_00000000000000000000000000",
            "sbx_00000000000000000000000000",
            "sbx_loc_0000000000000000000u",
            "sbx_loc_../../../../../etc/x",
        ] {
            assert!(bad.parse::<SandboxId>().is_err(), "{bad}");
        }
    }
}
