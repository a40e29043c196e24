//! The texts that an audit event may hold.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use http::Uri;
use thiserror::Error;

/// A path's beginning is enough to know it by, and an event is kept in queues.
const MAX_PATH: usize = 512;
/// What a secret is called is short.
const MAX_SECRET_NAME: usize = 128;

/// The path of a request without its query, cut after 512 bytes. It is taken from the request as
/// the guest wrote it, when no secret is in it yet.
#[derive(Clone, PartialEq, Eq)]
pub struct PathText(Arc<str>);

impl PathText {
    /// The path of `uri`. Call it before anything is substituted.
    pub fn of(uri: &Uri) -> Self {
        let path = uri.path();
        if path.len() <= MAX_PATH && path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Self(path.into());
        }
        // `http` lets through bytes that no path has; a line of the log stays a line.
        let visible = |c: char| if c.is_ascii_graphic() { c } else { '?' };
        let text: String = path.chars().take(MAX_PATH).map(visible).collect();
        Self(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PathText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PathText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a secret is called: letters, digits, `_`, `-` and `.`, at most 128 of them. It is no
/// secret itself, and whoever names one by its value is told of it by the name's rules in most cases.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName(Arc<str>);

/// It is no [`SecretName`]; the text is not repeated, for it may be a secret by mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a secret's name has 1 to {MAX_SECRET_NAME} letters, digits, `_`, `-` and `.`")]
pub struct SecretNameError;

impl SecretName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SecretName {
    type Err = SecretNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if text.is_empty() || text.len() > MAX_SECRET_NAME || !text.bytes().all(known) {
            return Err(SecretNameError);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_short_and_has_no_query() {
        let long = format!("http://a.example/{}?q", "x".repeat(1000));
        let path = PathText::of(&long.parse().unwrap());
        assert_eq!(path.as_str().len(), MAX_PATH);
        let path = PathText::of(&"/a?b=/c".parse().unwrap());
        assert_eq!(path.as_str(), "/a");
        let path = PathText::of(&"/ä/b".parse().unwrap());
        assert_eq!(path.as_str(), "/?/b");
    }

    #[test]
    fn a_secrets_name_is_a_plain_word() {
        assert!("API_KEY-2.x".parse::<SecretName>().is_ok());
        let long = "a".repeat(MAX_SECRET_NAME + 1);
        for text in ["", "a b", "a\n", "ä", "a=b", "sk/live+1", &long] {
            assert_eq!(text.parse::<SecretName>(), Err(SecretNameError), "{text}");
        }
    }
}
