//! [`SecretValue`]: bytes that nobody sees.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use zeroize::{Zeroize as _, Zeroizing};

/// The shortest value, in bytes. Answers are searched for it, and fewer bytes are found by chance in every
/// other answer; no service gives out such a credential.
pub const MIN_VALUE: usize = 8;
/// The longest value, in bytes: a certificate chain with its key fits.
pub const MAX_VALUE: usize = 64 << 10;

/// A secret's value. Its clones are one piece of memory, wiped when the last is dropped, and no `Debug`,
/// `Display` or serialisation shows it.
///
/// What leaves by [`SecretValue::expose`] is the caller's to wipe: a request on its way has copies of it in the
/// buffers of HTTP and TLS, which are not wiped.
#[derive(Clone)]
pub struct SecretValue(Arc<Zeroizing<Vec<u8>>>);

/// Bytes that are no [`SecretValue`]; says nothing of them but their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretValueError {
    /// Fewer than [`MIN_VALUE`].
    #[error("the value has {0} bytes; at least {MIN_VALUE} are needed to find it in answers")]
    TooShort(usize),
    /// More than [`MAX_VALUE`].
    #[error("the value has {0} bytes; at most {MAX_VALUE} are possible")]
    TooLong(usize),
}

impl SecretValue {
    /// Takes the bytes over; they are wiped in any case.
    ///
    /// # Errors
    /// [`SecretValueError`]: they are too few or too many.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretValueError> {
        let mut bytes = bytes.into();
        let error = match bytes.len() {
            short if short < MIN_VALUE => SecretValueError::TooShort(short),
            long if long > MAX_VALUE => SecretValueError::TooLong(long),
            _ => return Ok(Self(Arc::new(Zeroizing::new(bytes)))),
        };
        bytes.zeroize();
        Err(error)
    }

    /// Whether it has the same bytes.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_neither_short_nor_endless() {
        assert_eq!(
            SecretValue::new("1234567").unwrap_err(),
            SecretValueError::TooShort(7)
        );
        assert_eq!(
            SecretValue::new(vec![1; MAX_VALUE + 1]).unwrap_err(),
            SecretValueError::TooLong(MAX_VALUE + 1)
        );
        assert_eq!(SecretValue::new("12345678").unwrap().expose(), b"12345678");
        assert!(SecretValue::new(vec![1; MAX_VALUE]).is_ok());
    }

    #[test]
    fn nothing_shows_it() {
        let value = SecretValue::new("hunter2-hunter2").unwrap();
        assert_eq!(
            format!("{value:?} {:#?}", Some(&value))
                .matches("hunter")
                .count(),
            0
        );
        let error = SecretValue::new("hunter2").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter"));
    }

    #[test]
    fn clones_are_one_value() {
        let value = SecretValue::new("hunter2-hunter2").unwrap();
        assert!(std::ptr::eq(value.expose(), value.clone().expose()));
    }
}
