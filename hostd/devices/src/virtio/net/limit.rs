//! Token buckets: how much may pass in a direction.

use std::time::{Duration, Instant};

/// The shortest wait: a card whose frames go one by one would otherwise wake the event loop for each of them.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
/// The longest that is waited at once; then the bucket is looked at again.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A card's limits. None by default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetLimits {
    /// Of what the guest sends.
    pub from_guest: Limit,
    /// Of what it receives.
    pub to_guest: Limit,
}

/// What may pass in one direction. `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    /// Bytes of frames, from the Ethernet header on.
    pub bytes: Option<Rate>,
    /// Frames; one of offloaded segmentation counts once.
    pub frames: Option<Rate>,
}

/// How many of something may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// In a second, in the long run; 0 counts as 1.
    pub per_second: u64,
    /// At once, after a long rest; less than what comes in 10 milliseconds counts as that. A frame may overdraw this:
    /// those after it wait for that.
    pub burst: u64,
}

impl Rate {
    /// So many in a second, all of which may come at once.
    pub fn per_second(per_second: u64) -> Self {
        Self {
            per_second,
            burst: per_second,
        }
    }
}

/// Both buckets of a direction.
#[derive(Debug)]
pub struct Limiter {
    bytes: Option<Bucket>,
    frames: Option<Bucket>,
}

impl Limiter {
    /// Full buckets.
    pub fn new(limit: Limit, now: Instant) -> Self {
        let bucket = |rate: Option<Rate>| rate.map(|rate| Bucket::new(rate, now));
        Self {
            bytes: bucket(limit.bytes),
            frames: bucket(limit.frames),
        }
    }

    /// How long nothing may pass; `None` when a frame may pass now, whatever its size. Asks for the time only if it
    /// matters.
    pub fn wait(&mut self, now: impl Fn() -> Instant) -> Option<Duration> {
        let buckets = [&mut self.bytes, &mut self.frames];
        let buckets = buckets.into_iter().flatten();
        buckets.filter_map(|bucket| bucket.wait(now())).max()
    }

    /// A frame passes.
    pub fn spend(&mut self, bytes: usize) {
        for (bucket, tokens) in [(&mut self.bytes, bytes as u64), (&mut self.frames, 1)] {
            if let Some(bucket) = bucket {
                bucket.spend(tokens);
            }
        }
    }
}

/// Tokens, of which one is 10^9: as many come in a nanosecond as whole ones in a second, so none is lost to rounding.
#[derive(Debug)]
struct Bucket {
    per_nano: i128,
    full: i128,
    /// Negative after a frame that was larger than what was left.
    level: i128,
    filled: Instant,
}

const TOKEN: i128 = 1_000_000_000;

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        let per_second = rate.per_second.max(1);
        // What comes while nobody looks, which is for `SHORTEST_WAIT` and a while, must have a place.
        let burst = rate.burst.max(per_second / 100).max(1);
        let full = i128::from(burst) * TOKEN;
        Self {
            per_nano: per_second.into(),
            full,
            level: full,
            filled: now,
        }
    }

    fn wait(&mut self, now: Instant) -> Option<Duration> {
        // Of the processes of a host, none is as old as the 584 years that this can count.
        let since = now.saturating_duration_since(self.filled).as_nanos() as u64;
        let fresh = i128::from(since).saturating_mul(self.per_nano);
        self.level = self.level.saturating_add(fresh).min(self.full);
        self.filled = now;
        if self.level > 0 {
            return None;
        }
        let nanos = -self.level / self.per_nano + 1;
        let wait = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        Some(wait.clamp(SHORTEST_WAIT, LONGEST_WAIT))
    }

    fn spend(&mut self, tokens: u64) {
        self.level = self.level.saturating_sub(i128::from(tokens) * TOKEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(rate: Rate) -> Limit {
        Limit {
            bytes: Some(rate),
            frames: None,
        }
    }

    /// How many bytes pass in ten seconds, in frames of this size.
    fn passed(limit: Limit, frame: usize) -> u64 {
        let start = Instant::now();
        let mut limiter = Limiter::new(limit, start);
        let (mut now, mut bytes) = (start, 0);
        while now < start + Duration::from_secs(10) {
            match limiter.wait(|| now) {
                Some(wait) => now += wait,
                None => {
                    limiter.spend(frame);
                    bytes += frame as u64;
                }
            }
        }
        bytes
    }

    #[test]
    fn a_rate_is_kept() {
        let total = passed(bytes(Rate::per_second(100_000)), 1000);
        assert!((1_099_000..=1_101_000).contains(&total), "{total}");
        // Larger than a second's worth: it passes, and is paid for.
        let total = passed(bytes(Rate::per_second(1000)), 5000);
        assert!((10_000..=16_000).contains(&total), "{total}");
        let frames = Limit {
            bytes: None,
            frames: Some(Rate::per_second(7)),
        };
        assert!((76..=78).contains(&passed(frames, 1)));
        let impossible = Limit {
            bytes: Some(Rate::per_second(0)),
            frames: Some(Rate::per_second(u64::MAX)),
        };
        assert!(passed(impossible, 1) <= 12);
    }

    #[test]
    fn a_burst_passes_at_once_and_no_more_is_saved_up() {
        let rate = Rate {
            per_second: 1000,
            burst: 50_000,
        };
        let start = Instant::now();
        let mut limiter = Limiter::new(bytes(rate), start);
        let later = start + Duration::from_secs(1_000_000);
        for now in [start, later] {
            let mut burst = 0;
            while limiter.wait(|| now).is_none() {
                limiter.spend(1000);
                burst += 1000;
            }
            assert_eq!(burst, 50_000);
        }
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut limiter = Limiter::new(Limit::default(), Instant::now());
        for _ in 0..1000 {
            limiter.spend(1 << 20);
            assert_eq!(limiter.wait(Instant::now), None);
        }
    }

    #[test]
    fn no_number_is_too_large() {
        let rate = Rate::per_second(u64::MAX);
        let start = Instant::now();
        let mut limiter = Limiter::new(bytes(rate), start);
        for _ in 0..1000 {
            limiter.spend(usize::MAX);
        }
        let now = start + Duration::from_secs(1 << 33);
        assert!(limiter.wait(|| now).is_none_or(|wait| wait <= LONGEST_WAIT));
    }
}
