//! One request's part of the audit: told when it is decided, and when it ends, however it ends.

use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;

use super::body::Meter;
use super::problem::Problem;
use crate::audit::{Audit, Decision, Outcome, PathText, Protocol, Reason};
use crate::policy::Target;
use crate::rewrite::Uses;

/// A request that is on its way. Its end is told when this is dropped.
pub(super) struct Record {
    audit: Audit,
    decision: Option<Decision>,
    told: bool,
    secrets: Option<Arc<Uses>>,
    /// How much of `secrets` is in the decision.
    counted: u64,
    /// Bytes of the request's body, as they went to the upstream.
    pub(super) up: Meter,
    /// Bytes of the answer's body, as they went to the guest.
    pub(super) down: Meter,
}

impl Record {
    /// Begins with the request as the guest wrote it, before anything is put into it.
    pub(super) fn new(audit: &Audit, request: &Parts, port: u16) -> Self {
        let mut decision = audit.decision(Protocol::Http, port);
        decision.method = Some(request.method.clone());
        decision.path = Some(PathText::of(&request.uri));
        let (up, down) = (Meter::default(), Meter::default());
        Self {
            audit: audit.clone(),
            decision: Some(decision),
            told: false,
            secrets: None,
            counted: 0,
            up,
            down,
        }
    }

    /// Says where it goes.
    pub(super) fn about(&mut self, target: &Target) {
        self.change(|decision| decision.set_target(target));
    }

    /// Says from where the answer came.
    pub(super) fn answered(&mut self, address: IpAddr) {
        self.change(|decision| decision.address = Some(address));
    }

    /// Says that it is a WebSocket.
    pub(super) fn websocket(&mut self) {
        self.change(|decision| decision.protocol = Protocol::WebSocket);
    }

    /// Says what counts the secrets that are put in.
    pub(super) fn secrets(&mut self, uses: Arc<Uses>) {
        self.secrets = Some(uses);
    }

    /// Reads that: when the head is done, and after the body.
    pub(super) fn count_secrets(&mut self) {
        let Some(uses) = self.secrets.clone() else {
            return;
        };
        // Nothing more, when no body had any.
        let events = uses.events();
        if std::mem::replace(&mut self.counted, events) == events {
            return;
        }
        let withheld = uses.withheld();
        self.change(|decision| {
            if !withheld.is_empty() && decision.outcome == Outcome::Allowed {
                decision.outcome = Outcome::Withheld;
                decision.reason = Some(Reason::Other(
                    "a secret is not for this host, or not for this place",
                ));
            }
            decision.secrets = uses.used();
            decision.secrets.extend(withheld);
        });
    }

    /// Tells that it goes out.
    pub(super) fn goes(&mut self) {
        if let Some(decision) = &self.decision {
            self.audit.tell(decision);
            self.told = true;
        }
    }

    /// Tells that it does not, or that it failed out there.
    pub(super) fn fails(&mut self, problem: &Problem) {
        self.count_secrets();
        let (outcome, reason) = problem.outcome();
        self.change(|decision| {
            decision.outcome = outcome;
            decision.reason = Some(reason);
        });
        if !self.told {
            self.goes();
            // What never went out has no end.
            self.decision = None;
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Decision)) {
        if let Some(decision) = &mut self.decision {
            change(decision);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.count_secrets();
        if let Some(decision) = self.decision.take().filter(|_| self.told) {
            self.audit
                .tell(&decision.end(self.up.total(), self.down.total()));
        }
    }
}
