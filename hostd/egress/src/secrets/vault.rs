//! [`Vault`]: the secrets of a running sandbox.

use std::sync::{Arc, PoisonError, RwLock};

use super::{Bindings, BindingsError, Secret};
use crate::audit::SecretName;

/// The secrets of one sandbox, which change while it runs. A clone is another handle of the same.
///
/// A change acts on the next request; what is on its way has what it has.
#[derive(Debug, Clone, Default)]
pub struct Vault(Arc<RwLock<Arc<Bindings>>>);

impl Vault {
    /// Begins with these.
    pub fn new(bindings: Arc<Bindings>) -> Self {
        Self(Arc::new(RwLock::new(bindings)))
    }

    /// The secrets as they are now.
    pub fn load(&self) -> Arc<Bindings> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Adds secrets, and puts those whose names are known in the place of the old ones (rotation). They are
    /// made in view of what there is, and nothing else changes meanwhile.
    ///
    /// # Errors
    /// What `make` returns, or a [`BindingsError`]: nothing has changed.
    pub fn put<E: From<BindingsError>>(
        &self,
        make: impl FnOnce(&Bindings) -> Result<Vec<Secret>, E>,
    ) -> Result<(), E> {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(Bindings::over(make(&current)?, &current)?);
        Ok(())
    }

    /// Takes a secret away: its placeholder is worthless from now on. Tells whether there was one.
    pub fn revoke(&self, name: &SecretName) -> bool {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let without = current.without(name);
        let had = without.is_some();
        if let Some(bindings) = without {
            *current = Arc::new(bindings);
        }
        had
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::secret;

    fn name(text: &str) -> SecretName {
        text.parse().unwrap()
    }

    fn put(vault: &Vault, secrets: Vec<Secret>) -> Result<(), BindingsError> {
        vault.put(|_| Ok(secrets))
    }

    #[test]
    fn a_known_name_is_replaced_and_a_revoked_one_is_gone() {
        let both = vec![
            secret("ONE", "first-value", "a.example"),
            secret("TWO", "second-value", "b.example"),
        ];
        let vault = Vault::new(Arc::new(Bindings::new(both).unwrap()));
        let values = |vault: &Vault| {
            let bindings = vault.load();
            let value = |secret: &Arc<Secret>| secret.value().expose().to_vec();
            bindings.secrets().iter().map(value).collect::<Vec<_>>()
        };
        let other = secret("ONE", "another-value", "a.example");
        put(&vault, vec![other]).unwrap();
        assert_eq!(values(&vault), [&b"another-value"[..], b"second-value"]);
        assert!(vault.revoke(&name("ONE")));
        assert!(!vault.revoke(&name("ONE")));
        assert_eq!(values(&vault), [b"second-value"]);
    }

    #[test]
    fn what_does_not_go_together_changes_nothing() {
        let one = secret("ONE", "first-value", "a.example");
        let vault = Vault::new(Arc::new(Bindings::new(vec![one.clone()]).unwrap()));
        let twice = vec![secret("TWO", "some-value", "a.example"); 2];
        assert_eq!(put(&vault, twice), Err(BindingsError::Name(name("TWO"))));
        let (value, hosts) = (one.value().clone(), one.hosts().clone());
        let placeholder = one.placeholder().clone();
        let same = Secret::new(
            name("TWO"),
            value,
            hosts,
            one.surface().clone(),
            placeholder,
        );
        let same = put(&vault, vec![same.unwrap()]);
        assert_eq!(same, Err(BindingsError::Placeholder(name("ONE"))));
        assert_eq!(vault.load().secrets().len(), 1);
    }
}
