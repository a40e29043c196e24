//! Which names one sandbox was given which addresses for.
//!
//! A program that speaks first in neither TLS nor HTTP tells no name; the address that it connects
//! to does, if the resolver gave it away.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;

use crate::policy::HostName;

/// Addresses that are remembered of a sandbox; the one that was not given for longest is forgotten.
const MAX_ADDRESSES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);
/// Names of one address: content networks put thousands behind one, a sandbox uses few.
const MAX_NAMES: usize = 16;
/// Programs keep addresses for longer than a TTL: pools reconnect, some runtimes never ask again.
/// The policy is asked at each connection anyway, and the dialled address is the one given.
const REMEMBERED: Duration = Duration::from_secs(4 * 3600);

/// The memory of one sandbox. A restored or forked sandbox begins with none.
#[derive(Debug)]
pub struct Names(Mutex<LruCache<Ipv4Addr, VecDeque<Given>>>);

#[derive(Debug)]
struct Given {
    name: HostName,
    until: Instant,
}

impl Default for Names {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_ADDRESSES)))
    }
}

impl Names {
    /// The sandbox was told that the name stands for these addresses.
    pub fn remember(&self, name: &HostName, addresses: &[Ipv4Addr], now: Instant) {
        let mut memory = self.lock();
        for address in addresses {
            let names = memory.get_or_insert_mut(*address, VecDeque::new);
            names.retain(|given| given.name != *name);
            names.truncate(MAX_NAMES - 1);
            names.push_front(Given {
                name: name.clone(),
                until: now + REMEMBERED,
            });
        }
    }

    /// The names that the address was given for, the latest first.
    pub fn of(&self, address: Ipv4Addr, now: Instant) -> Vec<HostName> {
        let mut memory = self.lock();
        let names = memory.get(&address).into_iter().flatten();
        names
            .filter(|given| given.until > now)
            .map(|given| given.name.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Ipv4Addr, VecDeque<Given>>> {
        // A panic elsewhere cannot leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> HostName {
        text.parse().unwrap()
    }

    #[test]
    fn the_latest_name_comes_first_and_none_comes_twice() {
        let (names, now) = (Names::default(), Instant::now());
        let address = Ipv4Addr::new(203, 0, 113, 1);
        for text in ["a.example", "b.example", "a.example"] {
            names.remember(&name(text), &[address], now);
        }
        assert_eq!(
            names.of(address, now),
            [name("a.example"), name("b.example")]
        );
        assert!(names.of(Ipv4Addr::LOCALHOST, now).is_empty());
    }

    #[test]
    fn the_memory_is_bounded_in_every_way() {
        let (names, now) = (Names::default(), Instant::now());
        for n in 0..10_000_u32 {
            names.remember(
                &name(&format!("n{n}.example")),
                &[Ipv4Addr::from(n), Ipv4Addr::LOCALHOST],
                now,
            );
        }
        assert_eq!(names.lock().len(), MAX_ADDRESSES.get());
        assert_eq!(names.of(Ipv4Addr::LOCALHOST, now).len(), MAX_NAMES);
        assert!(names.of(Ipv4Addr::from(1), now).is_empty());
        assert!(names.of(Ipv4Addr::from(9_999), now + REMEMBERED).is_empty());
    }
}
