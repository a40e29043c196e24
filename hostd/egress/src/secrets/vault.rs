//! [`Vault`]: the secrets of a running sandbox.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use thiserror::Error;

use super::{Bindings, BindingsError, Secret, SecretError, SecretValue};
use crate::audit::SecretName;

/// The secrets of one sandbox, which change while it runs. A clone is another handle of the same.
///
/// A change acts on the next request; what is on its way has what it has.
#[derive(Debug, Clone, Default)]
pub struct Vault(Arc<RwLock<Arc<Bindings>>>);

/// What a sandbox that is restored or forked from another gets of its secrets. The placeholders are in its
/// memory, whatever is decided here.
#[derive(Debug, Clone, Default)]
pub enum ForkRule {
    /// Nothing: the placeholders are worthless.
    #[default]
    Deny,
    /// What the other one has now.
    Inherit,
    /// The same placeholders, hosts and surfaces with these values; those that are not named are denied.
    Rebind(BTreeMap<SecretName, SecretValue>),
}

/// No secret of the sandbox is called so.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the sandbox has no secret {0}")]
pub struct UnknownSecret(pub SecretName);

/// Why a secret has not got another value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RotateError {
    /// There is none.
    #[error(transparent)]
    Unknown(#[from] UnknownSecret),
    /// The value does not fit.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// All values together are too long.
    #[error(transparent)]
    Bindings(#[from] BindingsError),
}

impl Vault {
    /// Begins with these.
    pub fn new(bindings: Bindings) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(bindings))))
    }

    /// The secrets as they are now.
    pub fn load(&self) -> Arc<Bindings> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts others in their place.
    pub fn replace(&self, bindings: Bindings) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(bindings);
    }

    /// Gives a secret another value. Its placeholder stays.
    ///
    /// # Errors
    /// [`RotateError`]: nothing has changed.
    pub fn rotate(&self, name: &SecretName, value: SecretValue) -> Result<(), RotateError> {
        self.change(|secrets| {
            let unknown = || UnknownSecret(name.clone());
            let secret = secrets
                .iter_mut()
                .find(|secret| secret.name() == name)
                .ok_or_else(unknown)?;
            *secret = Arc::new(secret.rotated(value)?);
            Ok(())
        })
    }

    /// Takes a secret away. Its placeholder is worthless from now on.
    ///
    /// # Errors
    /// [`UnknownSecret`].
    pub fn revoke(&self, name: &SecretName) -> Result<(), RotateError> {
        self.change(|secrets| {
            let before = secrets.len();
            secrets.retain(|secret| secret.name() != name);
            match secrets.len() < before {
                true => Ok(()),
                false => Err(UnknownSecret(name.clone()).into()),
            }
        })
    }

    fn change(
        &self,
        change: impl FnOnce(&mut Vec<Arc<Secret>>) -> Result<(), RotateError>,
    ) -> Result<(), RotateError> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut secrets = current.secrets().to_vec();
        change(&mut secrets)?;
        *current = Arc::new(Bindings::of(secrets)?);
        Ok(())
    }

    /// What a sandbox gets that goes on from a state of this one's.
    ///
    /// # Errors
    /// [`RotateError`]: a new value does not fit, or is for a secret that there is not.
    pub fn fork(&self, rule: ForkRule) -> Result<Bindings, RotateError> {
        let current = self.load();
        let mut values = match rule {
            ForkRule::Deny => return Ok(Bindings::default()),
            ForkRule::Inherit => return Ok(Bindings::of(current.secrets().to_vec())?),
            ForkRule::Rebind(values) => values,
        };
        let mut secrets = Vec::new();
        for secret in current.secrets() {
            if let Some(value) = values.remove(secret.name()) {
                secrets.push(Arc::new(secret.rotated(value)?));
            }
        }
        match values.into_keys().next() {
            Some(name) => Err(UnknownSecret(name).into()),
            None => Ok(Bindings::of(secrets)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::secret;

    fn vault() -> Vault {
        let secrets = vec![
            secret("ONE", "first-value", "a.example"),
            secret("TWO", "second-value", "b.example"),
        ];
        Vault::new(Bindings::new(secrets).unwrap())
    }

    fn value(text: &str) -> SecretValue {
        SecretValue::new(text).unwrap()
    }

    fn name(text: &str) -> SecretName {
        text.parse().unwrap()
    }

    #[test]
    fn rotation_keeps_the_placeholder_and_revocation_takes_it() {
        let vault = vault();
        let before = vault.load();
        vault.rotate(&name("ONE"), value("another-value")).unwrap();
        let after = vault.load();
        assert_eq!(after.secrets()[0].value().expose(), b"another-value");
        assert_eq!(
            after.secrets()[0].placeholder(),
            before.secrets()[0].placeholder()
        );
        vault.revoke(&name("ONE")).unwrap();
        assert_eq!(vault.load().secrets().len(), 1);
        let unknown = RotateError::Unknown(UnknownSecret(name("ONE")));
        assert_eq!(vault.revoke(&name("ONE")), Err(unknown.clone()));
        assert_eq!(
            vault.rotate(&name("ONE"), value("another-value")),
            Err(unknown)
        );
        let broken = vault.rotate(&name("TWO"), value("line\r\nbreak"));
        assert_eq!(broken, Err(RotateError::Secret(SecretError::NotForHeaders)));
        assert_eq!(vault.load().secrets()[0].value().expose(), b"second-value");
    }

    #[test]
    fn a_fork_gets_what_the_rule_says() {
        let vault = vault();
        assert!(vault.fork(ForkRule::Deny).unwrap().secrets().is_empty());
        assert_eq!(vault.fork(ForkRule::Inherit).unwrap().secrets().len(), 2);
        let values = BTreeMap::from([(name("TWO"), value("value-of-the-fork"))]);
        let fork = vault.fork(ForkRule::Rebind(values)).unwrap();
        assert_eq!(fork.secrets().len(), 1);
        assert_eq!(fork.secrets()[0].value().expose(), b"value-of-the-fork");
        assert_eq!(
            fork.secrets()[0].placeholder(),
            vault.load().secrets()[1].placeholder()
        );
        let values = BTreeMap::from([(name("THREE"), value("value-of-the-fork"))]);
        assert!(vault.fork(ForkRule::Rebind(values)).is_err());
    }

    #[test]
    fn names_and_placeholders_are_unique() {
        let one = secret("ONE", "first-value", "a.example");
        let twice = Bindings::new(vec![one.clone(), secret("ONE", "first-value", "a.example")]);
        assert_eq!(twice.unwrap_err(), BindingsError::Name(name("ONE")));
        let (hosts, surface) = (one.hosts().clone(), one.surface().clone());
        let same = Secret::new(
            name("TWO"),
            value("first-value"),
            hosts,
            surface,
            one.placeholder().clone(),
        );
        let twice = Bindings::new(vec![one, same.unwrap()]);
        assert_eq!(twice.unwrap_err(), BindingsError::Placeholder(name("TWO")));
    }
}
