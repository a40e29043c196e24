//! [`Totals`]: how often what was decided, for all sandboxes together. Nothing of it names a sandbox, a host or a secret.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Decision, Moment, Outcome, Protocol};

const PROTOCOLS: [Protocol; 5] = [
    Protocol::Dns,
    Protocol::Tcp,
    Protocol::Tls,
    Protocol::Http,
    Protocol::WebSocket,
];
const OUTCOMES: [Outcome; 4] = [
    Outcome::Allowed,
    Outcome::Refused,
    Outcome::Withheld,
    Outcome::Failed,
];

/// Counts since hostd started.
#[derive(Debug, Default)]
pub(super) struct Totals {
    decided: [[AtomicU64; OUTCOMES.len()]; PROTOCOLS.len()],
    /// Only what has a reason, which is rare where much passes.
    reasons: Mutex<BTreeMap<&'static str, u64>>,
    up: AtomicU64,
    down: AtomicU64,
}

/// What was counted at one moment.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// Decisions, each once. All pairs are there, those with none too. Answered DNS questions are no decisions.
    pub decided: Vec<(Protocol, Outcome, u64)>,
    /// Decisions and early ends, by why: words that the program has.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Bytes from guests to hosts, of what has ended.
    pub bytes_up: u64,
    /// Bytes from hosts to guests, of what has ended.
    pub bytes_down: u64,
}

impl Totals {
    /// Counts it.
    pub(super) fn add(&self, decision: &Decision) {
        match decision.moment {
            Moment::Decided => {
                let protocol = PROTOCOLS.iter().position(|p| *p == decision.protocol);
                let outcome = OUTCOMES.iter().position(|o| *o == decision.outcome);
                let count = protocol.zip(outcome).and_then(|(protocol, outcome)| {
                    self.decided.get(protocol).and_then(|row| row.get(outcome))
                });
                if let Some(count) = count {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
            Moment::Ended => {
                self.up.fetch_add(decision.bytes_up, Ordering::Relaxed);
                self.down.fetch_add(decision.bytes_down, Ordering::Relaxed);
            }
        }
        if let Some(reason) = &decision.reason {
            let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
            *reasons.entry(reason.code()).or_default() += 1;
        }
    }

    /// All of it now.
    pub(super) fn read(&self) -> Counted {
        let rows = PROTOCOLS.iter().zip(&self.decided);
        let decided = rows.flat_map(|(protocol, row)| {
            let row = OUTCOMES.iter().zip(row);
            row.map(|(outcome, count)| (*protocol, *outcome, count.load(Ordering::Relaxed)))
        });
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        Counted {
            decided: decided.collect(),
            reasons: reasons.clone(),
            bytes_up: self.up.load(Ordering::Relaxed),
            bytes_down: self.down.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AuditLog, Reason};
    use super::*;

    #[test]
    fn what_is_told_is_counted_over_all_sandboxes() {
        let log = AuditLog::default();
        let (one, other) = (log.sandbox("one"), log.sandbox("other"));
        for audit in [&one, &other, &other] {
            let decision = audit.decision(Protocol::Http, 443);
            audit.tell(&decision);
            audit.tell(&decision.end(10, 200));
        }
        let refused = one.decision(Protocol::Dns, 53);
        one.tell(&refused.refuse(Reason::Other("a reason")));
        let counted = log.totals();
        let of = |protocol, outcome| {
            let mut all = counted.decided.iter();
            let found = all.find(|(p, o, _)| (*p, *o) == (protocol, outcome));
            found.unwrap().2
        };
        assert_eq!(of(Protocol::Http, Outcome::Allowed), 3);
        assert_eq!(of(Protocol::Dns, Outcome::Refused), 1);
        assert_eq!(of(Protocol::Dns, Outcome::Allowed), 0);
        assert_eq!((counted.bytes_up, counted.bytes_down), (30, 600));
        assert_eq!(counted.reasons, BTreeMap::from([("a reason", 1)]));
    }
}
