//! [`Scope`]: what a token is good for.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One kind of thing that may be done, within the token's organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look at sandboxes, networks and snapshots, but not into them.
    Read,
    /// Make, use and end sandboxes; [`Scope::Read`] with it.
    Sandboxes,
    /// Save sandboxes and delete snapshots; [`Scope::Read`] with it.
    Snapshots,
    /// Make, list and revoke tokens that are good for no more than one's own.
    Tokens,
}

/// What one token is good for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scopes(BTreeSet<Scope>);

impl Scope {
    /// As people write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Sandboxes => "sandboxes",
            Self::Snapshots => "snapshots",
            Self::Tokens => "tokens",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Scopes {
    /// Those that were named.
    pub fn iter(&self) -> impl Iterator<Item = Scope> {
        self.0.iter().copied()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they are enough for what needs `scope`.
    pub fn cover(&self, scope: Scope) -> bool {
        let reads = [Scope::Read, Scope::Sandboxes, Scope::Snapshots];
        self.0.contains(&scope)
            || (scope == Scope::Read && reads.iter().any(|one| self.0.contains(one)))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_use_may_look_and_no_more() {
        let sandboxes: Scopes = [Scope::Sandboxes].into_iter().collect();
        assert!(sandboxes.cover(Scope::Read) && sandboxes.cover(Scope::Sandboxes));
        assert!(!sandboxes.cover(Scope::Snapshots) && !sandboxes.cover(Scope::Tokens));
        let tokens: Scopes = [Scope::Tokens].into_iter().collect();
        assert!(!tokens.cover(Scope::Read));
        let read: Scopes = [Scope::Read].into_iter().collect();
        assert!(!read.cover(Scope::Sandboxes));
    }
}
