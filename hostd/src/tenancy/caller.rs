//! [`Caller`].

use std::sync::Arc;
use std::time::SystemTime;

use snapshots::SnapshotName;

use super::quota::Held;
use super::tokens::Known;
use super::{Organisation, Scope, TokenId};
use crate::error::{Error, Result};

/// Who sent a request: among its extensions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Caller {
    /// None: the operator.
    token: Option<Arc<Known>>,
}

impl Caller {
    /// Who may do everything.
    pub fn operator() -> Self {
        Self { token: None }
    }

    pub(super) fn with(token: Arc<Known>) -> Self {
        Self { token: Some(token) }
    }

    /// Whether it is the operator.
    pub fn is_operator(&self) -> bool {
        self.token.is_none()
    }

    /// Whose things the caller's are.
    pub fn organisation(&self) -> Option<&Organisation> {
        self.token.as_ref().map(|token| &token.record.organisation)
    }

    pub(super) fn token_id(&self) -> Option<&TokenId> {
        self.token.as_ref().map(|token| &token.record.id)
    }

    pub(super) fn known(&self) -> Option<&Arc<Known>> {
        self.token.as_ref()
    }

    /// Whether what belongs to `owner` is the caller's own. The operator has all.
    pub fn owns(&self, owner: Option<&str>) -> bool {
        let own = self.organisation().map(Organisation::as_str);
        self.is_operator() || (owner.is_some() && own == owner)
    }

    /// Whether it is good for that.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn may(&self, scope: Scope) -> Result<()> {
        match &self.token {
            Some(token) if !token.record.scopes.cover(scope) => {
                let need = format!("the scope `{scope}`");
                Err(Error::Forbidden { need })
            }
            _ => Ok(()),
        }
    }

    /// Whether it is the operator, as somebody has to be for this.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn must_be_operator(&self) -> Result<()> {
        let need = "the operator's token, or hostd's own socket".to_owned();
        self.is_operator()
            .then_some(())
            .ok_or(Error::Forbidden { need })
    }

    /// A snapshot's name as the caller can use it: the operator sees whose it is.
    pub fn spells<'a>(&self, name: &'a SnapshotName) -> &'a str {
        match self.is_operator() {
            true => name.as_str(),
            false => name.local(),
        }
    }

    /// Takes from the caller's quota what a sandbox needs, but for its memory.
    ///
    /// # Errors
    /// [`Error::Quota`].
    pub fn take(&self) -> Result<Held> {
        match &self.token {
            Some(token) => token.allowance.take(),
            None => Ok(Held::default()),
        }
    }

    /// Waits until the token is refused: revoked, or its time over.
    pub async fn refused(&self) {
        let Some(token) = &self.token else {
            return std::future::pending().await;
        };
        let until = token.record.expires_at.map(|at| {
            let left = at.duration_since(SystemTime::now()).unwrap_or_default();
            tokio::time::sleep(left)
        });
        tokio::select! {
            () = token.revoked.cancelled() => {}
            () = async { match until { Some(sleep) => sleep.await, None => std::future::pending().await } } => {}
        }
    }
}
