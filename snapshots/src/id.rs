//! Ids and names of snapshots. Both become names of directory entries, so neither can hold a
//! slash, begin with a dot, or be empty; and a name can never be taken for an id.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What every id begins with.
const ID_PREFIX: &str = "snp_";
/// How many characters follow the prefix.
const ID_RANDOM_CHARS: usize = 26;
/// The longest name, and the longest namespace, in bytes.
const MAX_NAME_BYTES: usize = 63;
/// Between a namespace and a name.
const NAMESPACE_END: char = ':';

/// A snapshot's id: `snp_` and 26 characters of `[0-9a-z]`. Never used twice.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotId(String);

/// A snapshot's name: `[a-z0-9][a-z0-9._-]{0,62}`, and not of the shape of an id; perhaps in a namespace, which is such a text
/// and a colon before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotName(String);

/// The text is not an id, or not a name.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdError {
    /// Not `snp_` and 26 characters of `[0-9a-z]`.
    #[error("not a snapshot id: {0:?}")]
    Id(String),
    /// Not `[a-z0-9][a-z0-9._-]{0,62}`, or it looks like an id.
    #[error("not a snapshot name: {0:?}")]
    Name(String),
}

impl SnapshotId {
    /// Checks the shape of `text`.
    pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
        let text = text.into();
        if is_id(&text) {
            Ok(Self(text))
        } else {
            Err(IdError::Id(shown(&text)))
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SnapshotName {
    /// Checks the shape of `text`.
    pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
        let text = text.into();
        if is_name(&text) {
            Ok(Self(text))
        } else {
            Err(IdError::Name(shown(&text)))
        }
    }

    /// The name as text, with its namespace.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same name in a namespace: as different from the one without, and from that in any other, as from another name.
    pub fn within(self, namespace: &str) -> Result<Self, IdError> {
        Self::new(format!("{namespace}{NAMESPACE_END}{}", self.local()))
    }

    /// The name without its namespace.
    pub fn local(&self) -> &str {
        let local = self.0.split_once(NAMESPACE_END);
        local.map_or(&self.0, |(_, local)| local)
    }
}

fn is_id(text: &str) -> bool {
    text.strip_prefix(ID_PREFIX).is_some_and(|rest| {
        rest.len() == ID_RANDOM_CHARS && rest.bytes().all(is_lower_alphanumeric)
    })
}

fn is_name(text: &str) -> bool {
    match text.split_once(NAMESPACE_END) {
        Some((namespace, local)) => is_word(namespace) && is_word(local),
        None => is_word(text),
    }
}

fn is_word(text: &str) -> bool {
    text.len() <= MAX_NAME_BYTES
        && text.bytes().next().is_some_and(is_lower_alphanumeric)
        && text
            .bytes()
            .all(|b| is_lower_alphanumeric(b) || b".-_".contains(&b))
        && !is_id(text)
}

fn is_lower_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

/// What an error repeats of a text that may be long.
fn shown(text: &str) -> String {
    text.chars().take(MAX_NAME_BYTES + 1).collect()
}

macro_rules! text_type {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $type {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0
            }
        }
    };
}
text_type!(SnapshotId);
text_type!(SnapshotName);

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "snp_01arz3ndektsv4rrffq69g5fav";

    #[test]
    fn accepts_what_it_says() {
        assert!(SnapshotId::new(ID).is_ok());
        for name in ["a", "0", "default", "py3.11_web-2", &"x".repeat(63)] {
            assert!(SnapshotName::new(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_name_in_a_namespace_is_another() {
        let name = SnapshotName::new("web").unwrap();
        let within = name.clone().within("acme").unwrap();
        assert_eq!((within.as_str(), within.local()), ("acme:web", "web"));
        assert_eq!(
            within.clone().within("other").unwrap().as_str(),
            "other:web"
        );
        assert_eq!(SnapshotName::new("acme:web").unwrap(), within);
        assert!(name.clone().within("a/b").is_err() && name.clone().within("").is_err());
        assert_eq!(name.local(), "web");
    }

    #[test]
    fn refuses_everything_else() {
        for id in [
            "",
            "snp_",
            "..",
            "default",
            &ID.to_uppercase(),
            &format!("{ID}0"),
        ] {
            assert!(SnapshotId::new(id).is_err(), "{id}");
        }
        for name in [
            "",
            ":",
            "a:",
            ":a",
            "-:a",
            "a:b:c",
            "a:../b",
            ".",
            "..",
            ".tmp-a",
            "-a",
            "_a",
            "a/b",
            "A",
            "a b",
            "é",
            ID,
            &"x".repeat(64),
        ] {
            assert!(SnapshotName::new(name).is_err(), "{name}");
        }
    }
}
