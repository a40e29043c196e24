//! One connection of the guest, from its first byte to its end.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::counters::Counters;
use super::first::{First, FirstError, first};
use super::pass::{Meters, pass};
use super::pipes::Pipes;
use super::refuse::{alert, reset};
use super::route::{Refused, Route, route};
use super::{DialError, Prefixed, Reached, Shared};
use crate::audit::{Decision, Outcome, Protocol, Reason};
use crate::intercept;
use crate::policy::Target;
use crate::sniff::{SniffError, Sniffer};

/// What the connections of one gate have in common.
pub(super) struct Connections {
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Counters,
    pub(super) pipes: Pipes,
}

impl Connections {
    /// Serves a connection to this destination until it ends.
    pub(super) async fn serve(
        &self,
        mut guest: TcpStream,
        destination: SocketAddr,
        undecided: OwnedSemaphorePermit,
    ) {
        let mut sniffer = Sniffer::default();
        match first(
            &self.shared,
            destination,
            &mut guest,
            &mut sniffer,
            undecided,
        )
        .await
        {
            Ok(First::Client(spoken)) => match route(&self.shared, destination, spoken) {
                Ok(Route::Open(session)) => {
                    self.counters.opened();
                    let stream = Prefixed::new(sniffer.into_bytes(), guest);
                    // Each request was answered and told for itself; what is left is how it ended.
                    if let Err(error) = intercept::serve(stream, session).await {
                        tracing::debug!(target: "egress", sandbox = &*self.shared.sandbox, %error, "an opened connection ended early");
                    }
                }
                Ok(Route::Pass { target, protocol }) => {
                    self.dial(guest, destination, &sniffer.into_bytes(), &target, protocol)
                        .await;
                }
                Err(refused) => self.refuse(guest, destination, refused).await,
            },
            Ok(First::Host { target, host }) => {
                let decision = self.decision(Protocol::Tcp, &target);
                self.pass(guest, host, &[], &target, decision).await;
            }
            Err(error) => self.undecided(guest, destination, &error).await,
        }
    }

    async fn dial(
        &self,
        guest: TcpStream,
        destination: SocketAddr,
        first: &[u8],
        target: &Target,
        protocol: Protocol,
    ) {
        let decision = self.decision(protocol, target);
        match self.shared.dial_as(target, destination).await {
            Ok(host) => self.pass(guest, host, first, target, decision).await,
            Err(DialError::Refused(why)) => {
                let target = target.clone();
                self.refuse(
                    guest,
                    destination,
                    Refused {
                        target,
                        protocol,
                        why,
                    },
                )
                .await;
            }
            Err(error) => {
                self.counters.failed();
                self.tell(decision, Outcome::Failed, Reason::Other(failure(&error)));
                reset(&guest);
            }
        }
    }

    /// Passes a connection through until it ends, or the policy does not allow it any more.
    async fn pass(
        &self,
        guest: TcpStream,
        mut host: Reached,
        first: &[u8],
        target: &Target,
        mut decision: Decision,
    ) {
        self.counters.passed();
        let address = host.address();
        decision.address = Some(address);
        self.shared.audit.tell(&decision);
        let _ = guest.set_nodelay(true);
        let meters = Meters::default();
        let passed = tokio::select! {
            passed = pass(&guest, &mut host, first, &self.pipes, &meters, self.shared.limits.idle) => passed.is_ok(),
            () = self.shared.until_refused(target, Some(address)) => {
                decision.reason = Some(Reason::Other("the policy refuses the host now"));
                false
            }
        };
        if !passed {
            // Each side sees that the other one did not end as it should.
            reset(&guest);
            reset(host.stream());
        }
        let (up, down) = meters.total();
        self.shared.audit.tell(&decision.end(up, down));
    }

    async fn refuse(&self, guest: TcpStream, destination: SocketAddr, refused: Refused) {
        self.counters.refused();
        let mut decision = self.decision(refused.protocol, &refused.target);
        decision.address = Some(destination.ip());
        self.tell(decision, Outcome::Refused, Reason::Policy(refused.why));
        if refused.protocol == Protocol::Tls {
            alert(guest).await;
        } else {
            reset(&guest);
        }
    }

    /// The first bytes decide nothing.
    async fn undecided(&self, guest: TcpStream, destination: SocketAddr, error: &FirstError) {
        let (protocol, reason) = match error {
            // Port scanners and health checks do no more, and nothing was asked for.
            FirstError::Ended(_) => return,
            FirstError::Slow => (
                Protocol::Tcp,
                "the client did not say which host it means in time",
            ),
            FirstError::Sniff(SniffError::TooLong) => (
                Protocol::Tcp,
                "the client's first bytes do not say which host it means",
            ),
            FirstError::Sniff(SniffError::Tls(_)) => {
                (Protocol::Tls, "the client's TLS hello is malformed")
            }
        };
        self.counters.refused();
        let mut decision = self.shared.audit.decision(protocol, destination.port());
        decision.address = Some(destination.ip());
        self.tell(decision, Outcome::Refused, Reason::Other(reason));
        if protocol == Protocol::Tls {
            alert(guest).await;
        } else {
            reset(&guest);
        }
    }

    fn decision(&self, protocol: Protocol, target: &Target) -> Decision {
        let audit = &self.shared.audit;
        audit.decision(protocol, target.port).about(target)
    }

    fn tell(&self, mut decision: Decision, outcome: Outcome, reason: Reason) {
        decision.outcome = outcome;
        decision.reason = Some(reason);
        self.shared.audit.tell(&decision);
    }
}

fn failure(error: &DialError) -> &'static str {
    match error {
        DialError::Refused(_) => "the policy refuses the host",
        DialError::TooManyNames => "too many different names are connected to",
        DialError::TooManyConnections => "too many connections to hosts are open",
        DialError::Lookup(_) => "the host's name stands for nothing",
        DialError::Connect { .. } => "the host does not accept connections there",
    }
}
