//! A token as it is shown, and as it is kept.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{Organisation, Quota, Scopes};
use crate::error::{Error, Result};
use crate::id;

/// As the tokens of organisations begin that the SDKs of Deno Sandbox know.
const PREFIX: &str = "ddo_";
/// Characters of an id (80 bits) and of what is secret (256 bits), five bits each.
const ID_LEN: usize = 16;
const SECRET_LEN: usize = 52;
/// The longest name, in bytes.
const MAX_NAME: usize = 63;

/// Names a token, for those who may list and revoke it. It is no secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenId(String);

/// What a new one is to be.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// For people.
    pub name: String,
    /// Whose it is.
    pub organisation: Organisation,
    /// What it is good for.
    pub scopes: Scopes,
    /// How much.
    pub quota: Quota,
    /// Until when.
    pub expires_at: Option<SystemTime>,
}

/// A token as it is kept: all but its secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its id.
    pub id: TokenId,
    /// For people.
    pub name: String,
    /// Whose it is.
    pub organisation: Organisation,
    /// What it is good for.
    pub scopes: Scopes,
    /// How much.
    pub quota: Quota,
    /// When it was made.
    pub created_at: SystemTime,
    /// From when on it is refused.
    pub expires_at: Option<SystemTime>,
    /// The token that made it: it ends with that one.
    pub parent: Option<TokenId>,
    /// SHA-256 of the whole text. It has 256 bits of chance: nobody finds it by trying, however fast.
    pub digest: [u8; 32],
}

/// A token that was made: its text is shown once.
pub struct Issued {
    /// What is kept.
    pub record: TokenRecord,
    /// What its owner sends.
    pub text: Zeroizing<String>,
}

impl TokenId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of a token that was shown, if it has the form of one.
    pub(super) fn of(shown: &[u8]) -> Option<Self> {
        let rest = std::str::from_utf8(shown).ok()?.strip_prefix(PREFIX)?;
        let (id, secret) = rest.split_at_checked(ID_LEN)?;
        (secret.len() == SECRET_LEN).then_some(())?;
        id.parse().ok()
    }
}

impl FromStr for TokenId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let valid = text.len() == ID_LEN && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let found = valid.then(|| Self(text.to_owned()));
        // What is no id names none.
        found.ok_or_else(|| Error::TokenNotFound(text.chars().take(64).collect()))
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl NewToken {
    /// Checks what a client asked for.
    pub(super) fn check(&self) -> Result<()> {
        let printable = |text: &str| !text.chars().any(char::is_control);
        if self.name.len() > MAX_NAME || !printable(&self.name) {
            let problem = format!("has at most {MAX_NAME} bytes, and no control characters");
            return Err(Error::invalid("name", problem));
        }
        if self.scopes.is_empty() {
            return Err(Error::invalid(
                "scopes",
                "are missing; a token without is good for nothing",
            ));
        }
        if self.expires_at.is_some_and(|at| at <= SystemTime::now()) {
            return Err(Error::invalid("expires_at", "is over already"));
        }
        Ok(())
    }

    /// Makes it.
    pub(super) fn issue(self, parent: Option<TokenId>) -> Result<Issued> {
        let id = TokenId(random(ID_LEN)?.to_string());
        let text = Zeroizing::new(format!("{PREFIX}{id}{}", *random(SECRET_LEN)?));
        let record = TokenRecord {
            digest: Sha256::digest(text.as_bytes()).into(),
            id,
            name: self.name,
            organisation: self.organisation,
            scopes: self.scopes,
            quota: self.quota,
            created_at: SystemTime::now(),
            expires_at: self.expires_at,
            parent,
        };
        Ok(Issued { record, text })
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

fn random(length: usize) -> Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; SECRET_LEN]);
    let bytes = bytes.get_mut(..length).unwrap_or_default();
    getrandom::fill(bytes).map_err(|error| Error::host("making a token", &error))?;
    Ok(Zeroizing::new(id::letters(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_itself_and_nothing_else_does() {
        let wanted = NewToken {
            name: "ci".into(),
            organisation: "acme".parse().unwrap(),
            scopes: [super::super::Scope::Read].into_iter().collect(),
            quota: Quota::default(),
            expires_at: None,
        };
        let issued = wanted.clone().issue(None).unwrap();
        assert_eq!(
            TokenId::of(issued.text.as_bytes()),
            Some(issued.record.id.clone())
        );
        assert!(!format!("{issued:?}").contains(issued.text.as_str()));
        let other = wanted.issue(None).unwrap();
        assert_ne!(issued.record.digest, other.record.digest);
        let longer = format!("{}0", *issued.text);
        for bad in [
            "",
            "ddo_",
            "ddo_é",
            &issued.text[..71],
            &longer,
            &issued.text[4..],
        ] {
            assert_eq!(TokenId::of(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(TokenId::of(&[0xff; 72]), None);
    }
}
