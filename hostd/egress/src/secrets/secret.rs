//! [`Secret`]: a value, and where it may go.

use thiserror::Error;

use super::{Headers, Hosts, Placeholder, SecretValue, Surface};
use crate::audit::SecretName;
use crate::processors::{JwtError, Processor};

/// A secret. Its parts fit together: what could not be in a header is not for headers.
#[derive(Debug, Clone)]
pub struct Secret {
    name: SecretName,
    value: SecretValue,
    processor: Processor,
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
    /// A signature is made of a request, and put into its headers.
    #[error("a signature is put into headers, and nowhere else")]
    OnlyHeaders,
    /// Whether a token is needed is told by a request's head.
    #[error("a token is put into headers, paths and queries, not into bodies and messages")]
    OnlyHeads,
    /// A key that signs nothing.
    #[error(transparent)]
    Key(JwtError),
}

impl Secret {
    /// Puts the parts together: a value that is put where its placeholder is.
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
        Self::processed(name, value, Processor::Inject, hosts, surface, placeholder)
    }

    /// The same, with something else made of the value.
    ///
    /// # Errors
    /// [`SecretError`]: they do not fit.
    pub fn processed(
        name: SecretName,
        value: SecretValue,
        processor: Processor,
        hosts: Hosts,
        surface: Surface,
        placeholder: Placeholder,
    ) -> Result<Self, SecretError> {
        if !surface.is_sensible() {
            return Err(SecretError::Surface);
        }
        check(&processor, &value, &surface)?;
        Ok(Self {
            name,
            value,
            processor,
            hosts,
            surface,
            placeholder,
        })
    }

    /// What it is called, in the sandbox's environment and in the audit.
    pub fn name(&self) -> &SecretName {
        &self.name
    }

    /// The value.
    pub fn value(&self) -> &SecretValue {
        &self.value
    }

    /// What is made of it.
    pub fn processor(&self) -> &Processor {
        &self.processor
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

fn check(processor: &Processor, value: &SecretValue, surface: &Surface) -> Result<(), SecretError> {
    let in_headers = surface.headers != Headers::None;
    let in_bodies = surface.body || surface.websocket;
    match processor {
        Processor::Inject => {
            let unfit = in_headers && value.expose().iter().any(u8::is_ascii_control);
            (!unfit).then_some(()).ok_or(SecretError::NotForHeaders)
        }
        Processor::Hmac(_) | Processor::SigV4(_) => {
            let only_headers = in_headers && !in_bodies && !surface.path && !surface.query;
            only_headers.then_some(()).ok_or(SecretError::OnlyHeaders)
        }
        Processor::Jwt(_) | Processor::OAuth2(_) if in_bodies => Err(SecretError::OnlyHeads),
        Processor::Jwt(jwt) => jwt.check(value).map_err(SecretError::Key),
        Processor::OAuth2(oauth2) => oauth2.check(value).map_err(SecretError::Key),
    }
}
