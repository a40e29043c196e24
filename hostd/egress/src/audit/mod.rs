//! What is told of each decision: as an event to whoever listens, and as tracing.
//!
//! A connection or request has one event when it is decided and one, with the bytes that it
//! carried, when it ends. Redaction is by type: a [`Decision`] has no field that could hold a query
//! string, a header or a value ([`PathText`], [`SecretName`], [`Reason`]).
//!
//! Listeners have a bounded queue: who is too slow is told how many events were lost. Who listens to one
//! sandbox loses nothing by the noise of others.

mod decision;
mod subscription;
mod text;
mod totals;

pub use self::decision::{Decision, Moment, Outcome, Protocol, Reason};
pub use self::subscription::{Event, Subscription};
pub use self::text::{PathText, SecretName, SecretNameError};
pub use self::totals::Counted;

use self::totals::Totals;

use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::broadcast;
use tracing::{debug, info};

/// How many events a slow listener may be behind before it loses some.
pub const QUEUE: usize = 4096;

/// Refusals of one sandbox that are logged each second; a flood is seen in the events and counters,
/// and does not fill the host's log.
const LOGGED_EACH_SECOND: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// The events of all sandboxes. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct AuditLog {
    events: broadcast::Sender<Arc<Decision>>,
    totals: Arc<Totals>,
}

impl Default for AuditLog {
    fn default() -> Self {
        Self::new(QUEUE)
    }
}

impl AuditLog {
    /// A log whose listeners may be `queue` events behind.
    pub fn new(queue: usize) -> Self {
        Self {
            events: broadcast::Sender::new(queue.max(1)),
            totals: Arc::default(),
        }
    }

    /// How much was told so far.
    pub fn totals(&self) -> Counted {
        self.totals.read()
    }

    /// Listens to what is told from now on.
    pub fn subscribe(&self) -> Subscription {
        Subscription::new(self.events.subscribe())
    }

    /// The part of one sandbox.
    pub fn sandbox(&self, sandbox: &str) -> Audit {
        Audit {
            sandbox: sandbox.into(),
            all: self.events.clone(),
            totals: self.totals.clone(),
            own: Arc::default(),
            logged: Arc::new(RateLimiter::direct(Quota::per_second(LOGGED_EACH_SECOND))),
        }
    }
}

/// Where one sandbox's decisions are told. A clone is another handle of the same.
#[derive(Debug, Clone)]
pub struct Audit {
    sandbox: Arc<str>,
    all: broadcast::Sender<Arc<Decision>>,
    totals: Arc<Totals>,
    /// Made for the first who listens to this sandbox alone: most have nobody.
    own: Arc<OnceLock<broadcast::Sender<Arc<Decision>>>>,
    logged: Arc<DefaultDirectRateLimiter>,
}

impl Audit {
    /// A decision of this sandbox, made now, with nothing known of it yet.
    pub fn decision(&self, protocol: Protocol, port: u16) -> Decision {
        Decision::new(self.sandbox.clone(), SystemTime::now(), protocol, port)
    }

    /// Listens to what is told of this sandbox from now on, until it is gone.
    pub fn subscribe(&self) -> Subscription {
        let own = self.own.get_or_init(|| broadcast::Sender::new(QUEUE));
        Subscription::new(own.subscribe())
    }

    /// Tells it.
    pub fn tell(&self, decision: &Decision) {
        self.log(decision);
        self.totals.add(decision);
        let listened_to = |events: &&broadcast::Sender<_>| events.receiver_count() > 0;
        let mut listened = [Some(&self.all), self.own.get()]
            .into_iter()
            .flatten()
            .filter(listened_to)
            .peekable();
        // Nobody listens: nobody is told, and nothing is copied.
        if listened.peek().is_some() {
            let decision = Arc::new(decision.clone());
            for events in listened {
                let _ = events.send(decision.clone());
            }
        }
    }

    fn log(&self, decision: &Decision) {
        if decision.outcome == Outcome::Allowed {
            debug!(target: "egress", "{decision}");
        } else if self.logged.check().is_ok() {
            info!(target: "egress", "{decision}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listeners_hear_each_decision_and_how_many_they_lost() {
        let log = AuditLog::new(2);
        let mut listener = log.subscribe();
        let audit = log.sandbox("box");
        for port in 1..=5 {
            audit.tell(&audit.decision(Protocol::Tcp, port));
        }
        drop((log, audit));
        let mut heard = Vec::new();
        while let Some(event) = listener.next().await {
            heard.push(match event {
                Event::Lost(count) => format!("lost {count}"),
                Event::Decision(decision) => format!("{} {}", decision.sandbox, decision.port),
            });
        }
        assert_eq!(heard, ["lost 3", "box 4", "box 5"]);
    }

    #[tokio::test]
    async fn who_listens_to_one_sandbox_hears_no_other_and_its_end() {
        let log = AuditLog::new(2);
        let (audit, other) = (log.sandbox("box"), log.sandbox("other"));
        let mut listener = audit.clone().subscribe();
        for port in 1..=5 {
            audit.tell(&audit.decision(Protocol::Tcp, port));
            other.tell(&other.decision(Protocol::Tcp, port));
        }
        drop(audit);
        for expected in 1..=5 {
            match listener.next().await {
                Some(Event::Decision(decision)) => {
                    assert_eq!((&*decision.sandbox, decision.port), ("box", expected));
                }
                event => panic!("{event:?}"),
            }
        }
        assert!(listener.next().await.is_none());
    }

    #[test]
    fn a_decision_is_one_line_without_a_query() {
        let audit = AuditLog::default().sandbox("box");
        let mut decision = audit.decision(Protocol::Http, 443);
        decision.host = Some(crate::policy::Host::Name("a.example".parse().unwrap()));
        decision.method = Some(http::Method::GET);
        let uri: http::Uri = "https://a.example/p%0aath?token=hidden".parse().unwrap();
        decision.path = Some(PathText::of(&uri));
        decision.secrets = vec!["API_KEY".parse().unwrap()];
        let text = decision.refuse(Reason::Other("rule")).to_string();
        assert_eq!(
            text,
            "box http a.example:443 GET /p%0aath secrets=API_KEY refused: rule"
        );
        assert!(!text.contains("hidden"));
    }
}
