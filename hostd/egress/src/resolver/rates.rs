//! How much one sandbox may ask.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Mutex, PoisonError};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use lru::LruCache;

use crate::gate::Limits;
use crate::policy::HostName;

/// Names that were asked for lately, and cost nothing to ask again.
const KNOWN_NAMES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1023);

/// After a quiet time so many seconds' questions may come at once.
const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);

/// The rates of one sandbox.
///
/// A name below an allowed `*.host` reaches that host's own DNS servers, and so can carry some 200
/// bytes out; the number of *different* names is what bounds that. Who allows only whole names
/// has no such tunnel at all.
#[derive(Debug)]
pub(crate) struct Rates {
    questions: DefaultDirectRateLimiter,
    names: DefaultDirectRateLimiter,
    known: Mutex<LruCache<HostName, ()>>,
}

impl Rates {
    pub(crate) fn new(limits: &Limits) -> Self {
        let burst = limits.questions_each_second.saturating_mul(BURST);
        let questions = Quota::per_second(limits.questions_each_second).allow_burst(burst);
        Self {
            questions: RateLimiter::direct(questions),
            names: RateLimiter::direct(Quota::per_minute(limits.names_each_minute)),
            known: Mutex::new(LruCache::new(KNOWN_NAMES)),
        }
    }

    /// Whether there may be one more question.
    pub(super) fn question(&self) -> bool {
        self.questions.check().is_ok()
    }

    /// Whether this name may be asked for.
    pub(crate) fn name(&self, name: &HostName) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(name).is_some() {
            return true;
        }
        let may = self.names.check().is_ok();
        if may {
            known.put(name.clone(), ());
        }
        may
    }
}
