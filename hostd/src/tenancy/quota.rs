//! [`Quota`]: how much of the host a token may use at once, and how fast.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, RateLimiter};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Limits; what is absent is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Sandboxes that live at once.
    pub sandboxes: Option<u32>,
    /// Memory of their guests together, in bytes.
    pub memory_bytes: Option<u64>,
    /// Sandboxes made in a minute; as many may come at once.
    pub creates_per_minute: Option<NonZeroU32>,
}

/// What is used now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sandboxes that live.
    pub sandboxes: u32,
    /// Their guests' memory in bytes.
    pub memory_bytes: u64,
}

/// A quota and what is used of it. A token that another one has made uses that one's, too: who may make tokens has no more than
/// before by making many.
#[derive(Debug)]
pub(super) struct Allowance {
    quota: Quota,
    usage: Mutex<Usage>,
    rate: Option<DefaultDirectRateLimiter>,
    parent: Option<Arc<Allowance>>,
}

/// What a sandbox uses of its token's quota: given back when this is dropped.
#[derive(Debug, Default)]
pub struct Held {
    of: Vec<Arc<Allowance>>,
    memory_bytes: u64,
}

impl Allowance {
    pub(super) fn new(quota: Quota, parent: Option<Arc<Self>>) -> Self {
        let per_minute = quota.creates_per_minute.map(governor::Quota::per_minute);
        Self {
            quota,
            usage: Mutex::default(),
            rate: per_minute.map(RateLimiter::direct),
            parent,
        }
    }

    pub(super) fn usage(&self) -> Usage {
        *self.used()
    }

    /// Takes what a sandbox needs, but for its memory.
    pub(super) fn take(self: &Arc<Self>) -> Result<Held> {
        let mut held = Held::default();
        let line = std::iter::successors(Some(self), |one| one.parent.as_ref());
        for allowance in line {
            allowance.add_sandbox()?;
            held.of.push(Arc::clone(allowance));
            // After the others, so that what is refused for want of room does not count as made.
            allowance.in_time()?;
        }
        Ok(held)
    }

    fn add_sandbox(&self) -> Result<()> {
        let mut usage = self.used();
        let more = usage.sandboxes.saturating_add(1);
        if let Some(most) = self.quota.sandboxes.filter(|most| more > *most) {
            let limit = format!("{most} sandboxes at once; end some");
            return Err(Error::Quota { limit });
        }
        usage.sandboxes = more;
        Ok(())
    }

    fn add_memory(&self, bytes: u64) -> Result<()> {
        let mut usage = self.used();
        let more = usage.memory_bytes.saturating_add(bytes);
        if let Some(most) = self.quota.memory_bytes.filter(|most| more > *most) {
            let limit = format!("{most} bytes of memory at once; end some sandboxes");
            return Err(Error::Quota { limit });
        }
        usage.memory_bytes = more;
        Ok(())
    }

    fn give_back_memory(&self, bytes: u64) {
        let mut usage = self.used();
        usage.memory_bytes = usage.memory_bytes.saturating_sub(bytes);
    }

    fn used(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_time(&self) -> Result<()> {
        let (Some(rate), Some(most)) = (&self.rate, self.quota.creates_per_minute) else {
            return Ok(());
        };
        rate.check().map_err(|early| {
            let wait = early.wait_time_from(DefaultClock::default().now());
            let seconds = wait.as_secs().saturating_add(1);
            let limit = format!("{most} sandboxes made in a minute; try again in {seconds} s");
            Error::Quota { limit }
        })
    }
}

impl Held {
    /// Takes so much memory, too: of all quotas, or of none.
    pub fn take_memory(&mut self, bytes: u64) -> Result<()> {
        for (taken, allowance) in self.of.iter().enumerate() {
            if let Err(error) = allowance.add_memory(bytes) {
                let before = self.of.iter().take(taken);
                before.for_each(|allowance| allowance.give_back_memory(bytes));
                return Err(error);
            }
        }
        self.memory_bytes = self.memory_bytes.saturating_add(bytes);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for allowance in &self.of {
            allowance.give_back_memory(self.memory_bytes);
            let mut usage = allowance.used();
            usage.sandboxes = usage.sandboxes.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(quota: Quota, parent: Option<Arc<Allowance>>) -> Arc<Allowance> {
        Arc::new(Allowance::new(quota, parent))
    }

    fn take(allowance: &Arc<Allowance>, memory_bytes: u64) -> Result<Held> {
        let mut held = allowance.take()?;
        held.take_memory(memory_bytes)?;
        Ok(held)
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let quota = Quota {
            sandboxes: Some(2),
            memory_bytes: Some(100),
            ..Quota::default()
        };
        let allowance = allowance(quota, None);
        let first = take(&allowance, 60).unwrap();
        assert!(matches!(take(&allowance, 60), Err(Error::Quota { .. })));
        let second = take(&allowance, 40).unwrap();
        assert!(matches!(take(&allowance, 0), Err(Error::Quota { .. })));
        drop(first);
        assert_eq!(allowance.usage().memory_bytes, 40);
        drop((take(&allowance, 60).unwrap(), second));
        assert_eq!(allowance.usage(), Usage::default());
    }

    #[test]
    fn children_use_what_their_parent_has() {
        let quota = |sandboxes| Quota {
            sandboxes,
            ..Quota::default()
        };
        let parent = allowance(quota(Some(1)), None);
        let one = allowance(quota(None), Some(Arc::clone(&parent)));
        let other = allowance(quota(Some(5)), Some(Arc::clone(&parent)));
        let held = take(&one, 1).unwrap();
        assert!(take(&other, 1).is_err());
        // The refused one has left nothing behind.
        assert_eq!(other.usage(), Usage::default());
        drop(held);
        assert!(take(&other, 1).is_ok());
    }

    #[test]
    fn too_many_in_a_minute_are_told_when_to_come_again() {
        let quota = Quota {
            creates_per_minute: NonZeroU32::new(2),
            ..Quota::default()
        };
        let allowance = allowance(quota, None);
        let held = [take(&allowance, 1).unwrap(), take(&allowance, 1).unwrap()];
        let refused = take(&allowance, 1).unwrap_err().to_string();
        assert!(refused.contains("try again in 3"), "{refused}");
        drop(held);
        assert_eq!(allowance.usage(), Usage::default());
    }
}
