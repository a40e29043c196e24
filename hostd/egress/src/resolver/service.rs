//! What is answered to which question.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::question::{Kind, Question};
use super::reply::{Extended, Reply};
use super::{Answer, LookupError};
use crate::audit::{Outcome, Protocol, Reason};
use crate::gate::Shared;
use crate::policy::{Host, HostName, Refusal};

/// Programs wait for 5 seconds and more; a late answer is of no use.
const LOOKUP_TIME: Duration = Duration::from_secs(5);
const DNS: u16 = 53;

/// The resolver of one sandbox.
pub(super) struct Service {
    shared: Arc<Shared>,
    under_way: Semaphore,
}

/// Why a name is not answered with addresses.
enum Failure {
    Refused(Refusal),
    Filtered(Refusal),
    Lookup(LookupError),
    Busy(&'static str),
}

impl Service {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            under_way: Semaphore::new(shared.limits.questions),
            shared,
        }
    }

    /// Answers a message; nothing is sent to what deserves nothing. A datagram's answer may be cut.
    pub(super) async fn answer(&self, bytes: &[u8], datagram: bool) -> Option<Vec<u8>> {
        let (reply, most) = match Question::read(bytes) {
            Ok(question) => {
                let most = Reply::datagram(Some(&question.message));
                (self.reply(&question).await, most)
            }
            Err(reply) => (reply?, Reply::datagram(None)),
        };
        reply.encode(datagram.then_some(most))
    }

    async fn reply(&self, question: &Question) -> Reply {
        let result = match &question.kind {
            Kind::Addresses(name) => self.addresses(name).await.map(Some),
            Kind::Nothing(name) => self.allowed(name).map(|()| None),
            Kind::NoHost => Err(Failure::Refused(Refusal::NotAllowed)),
        };
        let message = &question.message;
        match result {
            Ok(Some(answer)) => Reply::to(message, ResponseCode::NoError).with_addresses(
                &question.name,
                &answer.addresses,
                answer.ttl,
            ),
            Ok(None) => Reply::to(message, ResponseCode::NoError)
                .because(Extended::NotSupported, "only IPv4 addresses are answered"),
            Err(failure) => {
                self.tell(&question.kind, &failure);
                failure.reply(question)
            }
        }
    }

    /// The addresses of a name that the sandbox may dial. It may dial them without asking, too.
    async fn addresses(&self, name: &HostName) -> Result<Answer, Failure> {
        // Nothing of a refused name leaves: a question is a message to whoever answers it.
        self.allowed(name)?;
        if !self.shared.rates.name(name) {
            return Err(Failure::Busy("too many different names asked for"));
        }
        let Ok(_permit) = self.under_way.try_acquire() else {
            return Err(Failure::Busy("too many questions at once"));
        };
        let lookup = timeout(LOOKUP_TIME, self.shared.resolver.lookup(name)).await;
        let mut answer = lookup
            .unwrap_or(Err(LookupError::Failed))
            .map_err(Failure::Lookup)?;
        self.filter(name, &mut answer.addresses)?;
        self.shared
            .names
            .remember(name, &answer.addresses, Instant::now());
        Ok(answer)
    }

    fn allowed(&self, name: &HostName) -> Result<(), Failure> {
        if !self.shared.rates.question() {
            return Err(Failure::Busy("too many questions"));
        }
        let policy = self.shared.policy.load();
        policy.check_any_port(name).map_err(Failure::Refused)
    }

    /// Leaves the addresses that may be dialled at some port.
    fn filter(&self, name: &HostName, addresses: &mut Vec<Ipv4Addr>) -> Result<(), Failure> {
        let (policy, own) = (self.shared.policy.load(), self.shared.host.load());
        let mut refusal = None;
        addresses.retain(|address| {
            let verdict = policy.check_address(name, IpAddr::V4(*address), None, &own);
            verdict
                .map_err(|why| refusal.get_or_insert(why).clone())
                .is_ok()
        });
        match refusal {
            Some(why) if addresses.is_empty() => Err(Failure::Filtered(why)),
            _ => Ok(()),
        }
    }

    /// Tells of what is refused; what is answered is told of when it is used.
    fn tell(&self, kind: &Kind, failure: &Failure) {
        let mut decision = self.shared.audit.decision(Protocol::Dns, DNS);
        if let Kind::Addresses(name) | Kind::Nothing(name) = kind {
            decision.host = Some(Host::Name(name.clone()));
        }
        decision.outcome = match failure {
            Failure::Lookup(_) => Outcome::Failed,
            _ => Outcome::Refused,
        };
        decision.reason = Some(match failure {
            Failure::Refused(why) | Failure::Filtered(why) => Reason::Policy(why.clone()),
            Failure::Lookup(LookupError::NoSuchName) => Reason::Other("there is no such name"),
            Failure::Lookup(LookupError::NoAddress) => {
                Reason::Other("the name has no IPv4 address")
            }
            Failure::Lookup(LookupError::Failed) => Reason::Other("no DNS server answered"),
            Failure::Busy(text) => Reason::Other(text),
        });
        self.shared.audit.tell(&decision);
    }
}

impl Failure {
    /// A refused name does not exist for the guest. `REFUSED` would be the word, but resolvers take
    /// it for a server's trouble: they ask the next server, and again, and say "temporary failure"
    /// after seconds. `NXDOMAIN` ends at once with "no such host"; clients that know extended
    /// errors are told the reason.
    fn reply(&self, question: &Question) -> Reply {
        let to = |code| Reply::to(&question.message, code);
        match self {
            Self::Refused(why) => {
                to(ResponseCode::NXDomain).because(Extended::Prohibited, &why.to_string())
            }
            Self::Filtered(why) => {
                to(ResponseCode::NXDomain).because(Extended::Filtered, &why.to_string())
            }
            Self::Lookup(LookupError::NoSuchName) => to(ResponseCode::NXDomain),
            Self::Lookup(LookupError::NoAddress) => to(ResponseCode::NoError),
            Self::Lookup(LookupError::Failed) => to(ResponseCode::ServFail),
            // The resolver of the guest tries again, which is what it should do.
            Self::Busy(text) => to(ResponseCode::ServFail).because(Extended::NotReady, text),
        }
    }
}
