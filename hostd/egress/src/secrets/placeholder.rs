//! [`Placeholder`]: what a sandbox has in the place of a secret.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// How every placeholder begins.
pub const PREFIX: &str = "DENO_SECRET_PLACEHOLDER_";
/// Random bytes in a placeholder: as good as unique, and not to be guessed.
const RANDOM: usize = 16;

/// `DENO_SECRET_PLACEHOLDER_` and 32 hexadecimal digits in lower case. It is worth nothing but on the way
/// out of the sandbox whose vault knows it, and no secret.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Placeholder(Arc<str>);

/// Why there is no placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PlaceholderError {
    /// A text of another form.
    #[error("a placeholder is {PREFIX} and 32 hexadecimal digits in lower case")]
    Form,
    /// The kernel gave no random bytes.
    #[error("no random bytes for a placeholder")]
    Random,
}

impl Placeholder {
    /// A fresh one.
    ///
    /// # Errors
    /// [`PlaceholderError::Random`].
    pub fn generate() -> Result<Self, PlaceholderError> {
        let mut random = [0; RANDOM];
        getrandom::fill(&mut random).map_err(|_| PlaceholderError::Random)?;
        Ok(Self(format!("{PREFIX}{}", hex::encode(random)).into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Placeholder {
    type Err = PlaceholderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        match text.strip_prefix(PREFIX) {
            Some(digits) if digits.len() == 2 * RANDOM && digits.bytes().all(digit) => {
                Ok(Self(text.into()))
            }
            _ => Err(PlaceholderError::Form),
        }
    }
}

impl fmt::Display for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Placeholder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ones_differ_and_are_of_the_form() {
        let (one, other) = (
            Placeholder::generate().unwrap(),
            Placeholder::generate().unwrap(),
        );
        assert_ne!(one, other);
        assert_eq!(one.as_str().parse(), Ok(one.clone()));
    }

    #[test]
    fn other_texts_are_none() {
        let digits = "0123456789abcdef0123456789abcdef";
        assert!(format!("{PREFIX}{digits}").parse::<Placeholder>().is_ok());
        for text in [
            String::new(),
            digits.into(),
            PREFIX.into(),
            format!("{PREFIX}{digits}0"),
            format!("{PREFIX}{}", digits.to_uppercase()),
            format!("{}{digits}", PREFIX.to_lowercase()),
            format!(" {PREFIX}{digits}"),
        ] {
            assert_eq!(
                text.parse::<Placeholder>(),
                Err(PlaceholderError::Form),
                "{text}"
            );
        }
    }
}
