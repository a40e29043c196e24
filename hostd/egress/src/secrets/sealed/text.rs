//! [`Sealed`]: a sealed secret as a text.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::SealedError;
use crate::audit::SecretName;
use crate::secrets::{Hosts, MAX_VALUE};

/// The longest text, in bytes: the longest value and 64 long names in base64.
pub const MAX_SEALED: usize = (MAX_VALUE + 64 * 300) * 4 / 3;

const PREFIX: &str = "thaw-sealed-1";
/// Bytes of the encapsulated key, which come first.
const ENCAPSULATED: usize = 32;
/// Bytes of the authentication tag, which come last.
const TAG: usize = 16;

/// A sealed secret: whom it is for can be read by everybody, its value only by one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    head: Head,
    hosts: Hosts,
    /// All before the second dot, as it was written: the associated data.
    head_text: String,
    /// The encapsulated key, the ciphertext and its tag.
    body: Vec<u8>,
}

/// What is authenticated and not encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    key: String,
    name: String,
    hosts: Vec<String>,
    /// Who may use it, besides the host's operator; absent: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    organisation: Option<String>,
}

impl Sealed {
    /// Which key it is sealed with.
    pub fn key_id(&self) -> &str {
        &self.head.key
    }

    /// What the secret is called.
    pub fn name(&self) -> &str {
        &self.head.name
    }

    /// Where its value may go.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Who may use it, besides the host's operator.
    pub fn organisation(&self) -> Option<&str> {
        self.head.organisation.as_deref()
    }

    pub(super) fn unfinished(
        key: String,
        name: &SecretName,
        hosts: &Hosts,
        organisation: Option<&str>,
    ) -> Self {
        let head = Head {
            key,
            name: name.to_string(),
            hosts: hosts.texts().collect(),
            organisation: organisation.map(str::to_owned),
        };
        // Texts are JSON, whatever they say.
        let json = serde_json::to_vec(&head).unwrap_or_default();
        Self {
            head,
            hosts: hosts.clone(),
            head_text: format!("{PREFIX}.{}", URL_SAFE_NO_PAD.encode(json)),
            body: Vec::new(),
        }
    }

    pub(super) fn finish(&mut self, encapsulated: &[u8], ciphertext: &[u8]) {
        self.body = [encapsulated, ciphertext].concat();
    }

    pub(super) fn head_text(&self) -> &str {
        &self.head_text
    }

    /// The encapsulated key, and the ciphertext with its tag.
    pub(super) fn parts(&self) -> (&[u8], &[u8]) {
        self.body.split_at_checked(ENCAPSULATED).unwrap_or_default()
    }
}

impl FromStr for Sealed {
    type Err = SealedError;

    fn from_str(text: &str) -> Result<Self, SealedError> {
        let text = text.trim();
        if text.len() > MAX_SEALED {
            return Err(SealedError::TooLong(text.len()));
        }
        let form = SealedError::Form;
        let (head_text, body) = text
            .rsplit_once('.')
            .ok_or(form("it has not three parts between dots"))?;
        let head = head_text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix('.'))
            .ok_or(form("it does not begin with thaw-sealed-1"))?;
        let bytes = |part: &str| {
            let decoded = URL_SAFE_NO_PAD.decode(part);
            decoded.map_err(|_| form("a part is not base64url"))
        };
        let head: Head = serde_json::from_slice(&bytes(head)?)
            .map_err(|_| form("its head is not that of a sealed secret"))?;
        let body = bytes(body)?;
        if body.len() < ENCAPSULATED + TAG {
            return Err(form("it is cut off"));
        }
        Ok(Self {
            hosts: Hosts::parse(&head.hosts)?,
            head,
            head_text: head_text.to_owned(),
            body,
        })
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}",
            self.head_text,
            URL_SAFE_NO_PAD.encode(&self.body)
        )
    }
}
