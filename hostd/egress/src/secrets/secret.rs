//! [`Secret`]: a value, and where it may go.

use thiserror::Error;

use super::{Headers, Hosts, Placeholder, SecretValue, Surface};
use crate::audit::SecretName;

/// A secret. Its parts fit together: what could not be in a header is not for headers.
#[derive(Debug, Clone)]
pub struct Secret {
    name: SecretName,
    value: SecretValue,
    hosts: Hosts,
    surface: Surface,
    placeholder: Placeholder,
}

/// Parts that do not fit together. Says nothing of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SecretError {
    /// Control characters would end the header that they are in.
    #[error("the value has control characters, so it cannot be put into headers")]
    NotForHeaders,
    /// A surface with lists that are too long, or with prefixes that are none.
    #[error("the surface has too many entries, or a path prefix that is none")]
    Surface,
}

impl Secret {
    /// Puts the parts together.
    ///
    /// # Errors
    /// [`SecretError`]: they do not fit.
    pub fn new(
        name: SecretName,
        value: SecretValue,
        hosts: Hosts,
        surface: Surface,
        placeholder: Placeholder,
    ) -> Result<Self, SecretError> {
        if !surface.is_sensible() {
            return Err(SecretError::Surface);
        }
        let secret = Self {
            name,
            value,
            hosts,
            surface,
            placeholder,
        };
        secret.check_value(&secret.value)?;
        Ok(secret)
    }

    fn check_value(&self, value: &SecretValue) -> Result<(), SecretError> {
        let in_headers = self.surface.headers != Headers::None;
        if in_headers && value.expose().iter().any(u8::is_ascii_control) {
            return Err(SecretError::NotForHeaders);
        }
        Ok(())
    }

    /// What it is called, in the sandbox's environment and in the audit.
    pub fn name(&self) -> &SecretName {
        &self.name
    }

    /// The value.
    pub fn value(&self) -> &SecretValue {
        &self.value
    }

    /// Where it may go.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Where in a request it may be.
    pub fn surface(&self) -> &Surface {
        &self.surface
    }

    /// What the sandbox has in its place.
    pub fn placeholder(&self) -> &Placeholder {
        &self.placeholder
    }
}
