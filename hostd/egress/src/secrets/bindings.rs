//! [`Bindings`]: the secrets of one sandbox at one moment.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use thiserror::Error;

use super::Secret;
use crate::audit::SecretName;
use crate::policy::{Host, Target};
use crate::rewrite::{Placeholders, Redactor};

/// Secrets of one sandbox.
pub const MAX_SECRETS: usize = 128;
/// Bytes of all values of one sandbox together: answers are searched for each of them in dozens of forms.
pub const MAX_VALUES: usize = 128 << 10;

/// The secrets of one sandbox, each with a name and a placeholder of its own. They do not change; a
/// [`super::Vault`] puts others in their place.
#[derive(Debug, Default)]
pub struct Bindings {
    secrets: Vec<Arc<Secret>>,
    placeholders: OnceLock<Placeholders>,
    redactor: OnceLock<Arc<Redactor>>,
}

/// Secrets that one sandbox cannot have together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BindingsError {
    /// More than [`MAX_SECRETS`].
    #[error("{0} secrets; a sandbox has at most {MAX_SECRETS}")]
    TooMany(usize),
    /// More than [`MAX_VALUES`].
    #[error("the values have {0} bytes together; a sandbox has at most {MAX_VALUES}")]
    TooLong(usize),
    /// A name twice.
    #[error("two secrets are called {0}")]
    Name(SecretName),
    /// A placeholder twice.
    #[error("secret {0} has the placeholder of another one")]
    Placeholder(SecretName),
}

impl Bindings {
    /// Binds these.
    ///
    /// # Errors
    /// [`BindingsError`]: they cannot be together.
    pub fn new(secrets: Vec<Secret>) -> Result<Self, BindingsError> {
        Self::of(secrets.into_iter().map(Arc::new).collect())
    }

    /// These, and of others those whose names are not among them: what a sandbox has that was changed, or
    /// that goes on from a state of another one.
    ///
    /// # Errors
    /// [`BindingsError`]: they cannot be together.
    pub fn over(secrets: Vec<Secret>, others: &Self) -> Result<Self, BindingsError> {
        let names: HashSet<_> = secrets.iter().map(Secret::name).collect();
        let kept = others
            .secrets
            .iter()
            .filter(|other| !names.contains(other.name()));
        let kept: Vec<_> = kept.cloned().collect();
        Self::of(secrets.into_iter().map(Arc::new).chain(kept).collect())
    }

    /// All but this one; nothing, if it is not among them.
    pub(super) fn without(&self, name: &SecretName) -> Option<Self> {
        self.find(name)?;
        let others = self.secrets.iter().filter(|secret| secret.name() != name);
        Some(Self::unchecked(others.cloned().collect()))
    }

    /// The one that is called so.
    pub fn find(&self, name: &SecretName) -> Option<&Arc<Secret>> {
        self.secrets.iter().find(|secret| secret.name() == name)
    }

    fn of(secrets: Vec<Arc<Secret>>) -> Result<Self, BindingsError> {
        if secrets.len() > MAX_SECRETS {
            return Err(BindingsError::TooMany(secrets.len()));
        }
        let bytes = secrets
            .iter()
            .map(|secret| secret.value().expose().len())
            .sum();
        if bytes > MAX_VALUES {
            return Err(BindingsError::TooLong(bytes));
        }
        let (mut names, mut placeholders) = (HashSet::new(), HashSet::new());
        for secret in &secrets {
            if !names.insert(secret.name()) {
                return Err(BindingsError::Name(secret.name().clone()));
            }
            if !placeholders.insert(secret.placeholder()) {
                return Err(BindingsError::Placeholder(secret.name().clone()));
            }
        }
        Ok(Self::unchecked(secrets))
    }

    fn unchecked(secrets: Vec<Arc<Secret>>) -> Self {
        Self {
            secrets,
            placeholders: OnceLock::new(),
            redactor: OnceLock::new(),
        }
    }

    /// All of them.
    pub fn secrets(&self) -> &[Arc<Secret>] {
        &self.secrets
    }

    /// Those that are bound to this target; over TLS, or in the clear.
    pub fn bound_to(&self, target: &Target, secure: bool) -> impl Iterator<Item = &Arc<Secret>> {
        self.secrets
            .iter()
            .filter(move |secret| secret.hosts().contain(target))
            .filter(move |secret| secure || secret.surface().plaintext)
    }

    /// Whether this host has a secret, at whatever port.
    pub fn has_for(&self, host: &Host) -> bool {
        let mut secrets = self.secrets.iter();
        secrets.any(|secret| secret.hosts().contain_host(host))
    }

    /// Whether this host may be sent a value or a token, at whatever port: it could repeat one at another. A key that only
    /// signs is never sent.
    pub fn may_come_from(&self, host: &Host) -> bool {
        let sent = |secret: &&Arc<Secret>| secret.processor().is_sent();
        let mut secrets = self.secrets.iter().filter(sent);
        secrets.any(|secret| secret.hosts().contain_host(host))
    }

    /// What finds their placeholders: made when it is needed first.
    pub(crate) fn placeholders(&self) -> &Placeholders {
        self.placeholders
            .get_or_init(|| Placeholders::new(&self.secrets))
    }

    /// What takes all of them out of answers: made when it is needed first.
    pub(crate) fn redactor(&self) -> &Arc<Redactor> {
        self.redactor
            .get_or_init(|| Arc::new(Redactor::new(&self.secrets)))
    }
}
