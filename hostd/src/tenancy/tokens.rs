//! [`Tokens`]: all of them, in memory and in the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use super::quota::{Allowance, Usage};
use super::token::{Issued, NewToken, TokenId, TokenRecord};
use super::{Caller, Organisation};
use crate::database::Database;
use crate::error::{Context as _, Error, Result};

/// So many tokens of one organisation, and so many of all; the operator makes some more.
const MOST_OF_ONE: usize = 500;
const MOST: usize = 5_000;
const MOST_WITH_OPERATORS: usize = 6_000;
/// How many tokens may have made each other, one after the other.
const DEEPEST: usize = 8;

/// A token that is accepted.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) record: TokenRecord,
    pub(super) allowance: Arc<Allowance>,
    pub(super) revoked: CancellationToken,
}

/// The registry. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokens {
    database: Database,
    known: Arc<Mutex<HashMap<TokenId, Arc<Known>>>>,
    /// Held while tokens are made and revoked, so that the two places say the same.
    changing: Arc<tokio::sync::Mutex<()>>,
}

impl Tokens {
    /// Reads them.
    pub async fn load(database: Database) -> Result<Self> {
        let records = database.tokens().await.doing(|| "reading tokens".into())?;
        let tokens = Self {
            database,
            known: Arc::default(),
            changing: Arc::default(),
        };
        // Parents first, whatever the clock said when they were made. A child whose parent is gone is, too.
        let mut waiting = records;
        loop {
            let here = |record: &TokenRecord| {
                let parent = record.parent.as_ref();
                parent.is_none_or(|parent| tokens.known().contains_key(parent))
            };
            let (ready, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(here);
            waiting = later;
            if ready.is_empty() {
                break;
            }
            ready.into_iter().for_each(|record| tokens.add(record));
        }
        Ok(tokens)
    }

    /// Who showed this, if it is a token. Takes the same time for every wrong secret.
    pub fn caller(&self, shown: &[u8]) -> Option<Caller> {
        let digest: [u8; 32] = Sha256::digest(shown).into();
        let known = TokenId::of(shown).and_then(|id| self.known().get(&id).cloned())?;
        let right: bool = known.record.digest.ct_eq(&digest).into();
        (right && known.lives()).then(|| Caller::with(known))
    }

    /// Makes one. Who has a token makes them for its own organisation, with no more scopes, and no longer than it lives itself.
    pub async fn create(&self, caller: &Caller, mut wanted: NewToken) -> Result<Issued> {
        wanted.check()?;
        if let Some(own) = caller.known() {
            if wanted.organisation != own.record.organisation {
                let need = format!("a token of the organisation {}", wanted.organisation);
                return Err(Error::Forbidden { need });
            }
            wanted
                .scopes
                .iter()
                .try_for_each(|scope| caller.may(scope))?;
            wanted.expires_at = earlier(wanted.expires_at, own.record.expires_at);
        }
        let (tokens, caller) = (self.clone(), caller.clone());
        // In a task of its own: when its client goes, the two places still say the same.
        let made = tokio::spawn(async move { tokens.keep(&caller, wanted).await });
        made.await.doing(|| "making a token".into())?
    }

    async fn keep(&self, caller: &Caller, wanted: NewToken) -> Result<Issued> {
        let _changing = self.changing.lock().await;
        // Whoever made it may have been revoked meanwhile.
        if caller.known().is_some_and(|own| !own.lives()) {
            return Err(Error::Unauthenticated);
        }
        let over: Vec<_> = self.where_it(|token| !token.lives());
        self.drop_all(&over).await?;
        self.check_room(caller, &wanted)?;
        let issued = wanted.issue(caller.token_id().cloned())?;
        let put = self.database.put_token(&issued.record).await;
        put.doing(|| "keeping a token".into())?;
        self.add(issued.record.clone());
        Ok(issued)
    }

    fn check_room(&self, caller: &Caller, wanted: &NewToken) -> Result<()> {
        let full = |limit: String| Err(Error::Quota { limit });
        let own = self.where_it(|token| token.record.organisation == wanted.organisation);
        if own.len() >= MOST_OF_ONE {
            return full(format!(
                "{MOST_OF_ONE} tokens of one organisation; revoke some"
            ));
        }
        let most = match caller.is_operator() {
            true => MOST_WITH_OPERATORS,
            false => MOST,
        };
        let known = self.known();
        if known.len() >= most {
            return full(format!("{most} tokens on this host; revoke some"));
        }
        let parent = |token: &Arc<Known>| known.get(token.record.parent.as_ref()?).cloned();
        let line = std::iter::successors(caller.known().cloned(), parent);
        if line.take(DEEPEST).count() == DEEPEST {
            return full(format!(
                "{DEEPEST} tokens that made each other; ask for one that is nearer to the operator's"
            ));
        }
        Ok(())
    }

    /// Those that the caller may see, oldest first, and what is used of each.
    pub fn list(&self, caller: &Caller, of: Option<&Organisation>) -> Vec<(TokenRecord, Usage)> {
        let known = self.known();
        let wanted = known.values().filter(|token| {
            let organisation = &token.record.organisation;
            caller.owns(Some(organisation.as_str())) && of.is_none_or(|of| of == organisation)
        });
        let mut all: Vec<_> = wanted
            .map(|token| (token.record.clone(), token.allowance.usage()))
            .collect();
        all.sort_by(|(one, _), (other, _)| {
            (one.created_at, &one.id).cmp(&(other.created_at, &other.id))
        });
        all
    }

    /// Refuses a token from now on, and all that were made with it. Whoever speaks by one of them is let go. Who has a token
    /// revokes none that is good for more.
    pub async fn revoke(&self, caller: &Caller, id: &str) -> Result<()> {
        let id: TokenId = id.parse()?;
        let (tokens, caller) = (self.clone(), caller.clone());
        let revoked = tokio::spawn(async move { tokens.revoke_line(&caller, &id).await });
        revoked.await.doing(|| "revoking a token".into())?
    }

    async fn revoke_line(&self, caller: &Caller, id: &TokenId) -> Result<()> {
        let _changing = self.changing.lock().await;
        let found = self.known().get(id).cloned();
        let found = found.filter(|token| caller.owns(Some(token.record.organisation.as_str())));
        let found = found.ok_or_else(|| Error::TokenNotFound(id.to_string()))?;
        let mut scopes = found.record.scopes.iter();
        scopes.try_for_each(|scope| caller.may(scope))?;
        self.drop_all(&self.line_of(id)).await
    }

    /// Forgets tokens in both places, and lets go whoever speaks by one of them.
    async fn drop_all(&self, doomed: &[TokenId]) -> Result<()> {
        if doomed.is_empty() {
            return Ok(());
        }
        let deleted = self.database.delete_tokens(doomed).await;
        deleted.doing(|| "forgetting tokens".into())?;
        let mut known = self.known();
        for id in doomed {
            if let Some(token) = known.remove(id) {
                token.revoked.cancel();
            }
        }
        Ok(())
    }

    fn where_it(&self, is: impl Fn(&Known) -> bool) -> Vec<TokenId> {
        let known = self.known();
        let found = known.values().filter(|token| is(token));
        found.map(|token| token.record.id.clone()).collect()
    }

    /// A token, and all that were made with it, and with those.
    fn line_of(&self, id: &TokenId) -> Vec<TokenId> {
        let mut children: HashMap<TokenId, Vec<TokenId>> = HashMap::new();
        for token in self.known().values() {
            if let Some(parent) = &token.record.parent {
                let of = children.entry(parent.clone()).or_default();
                of.push(token.record.id.clone());
            }
        }
        let mut line = vec![id.clone()];
        let mut at = 0;
        while let Some(parent) = line.get(at) {
            let of = children.remove(parent).unwrap_or_default();
            line.extend(of);
            at += 1;
        }
        line
    }

    fn add(&self, record: TokenRecord) {
        let mut known = self.known();
        let parent = record.parent.as_ref().and_then(|id| known.get(id));
        let parent = parent.map(|parent| Arc::clone(&parent.allowance));
        let token = Known {
            allowance: Arc::new(Allowance::new(record.quota, parent)),
            revoked: CancellationToken::new(),
            record,
        };
        known.insert(token.record.id.clone(), Arc::new(token));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<TokenId, Arc<Known>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn lives(&self) -> bool {
        let over = |at: SystemTime| at <= SystemTime::now();
        !self.revoked.is_cancelled() && !self.record.expires_at.is_some_and(over)
    }
}

fn earlier(one: Option<SystemTime>, other: Option<SystemTime>) -> Option<SystemTime> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
