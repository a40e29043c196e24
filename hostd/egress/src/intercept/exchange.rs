//! One request's way through: checked, rewritten, sent, and its answer back.

use std::error::Error as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, request};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::body::{Body, BodyError};
use super::inbound::{self, Passed};
use super::problem::Problem;
use super::protocol::Protocol;
use super::record::Record;
use super::rewriting::{BodyPlan, Rewriting};
use super::session::{Common, Opened};
use super::upstream::{Answer, Pool, UpstreamError};
use super::{asked, lingering, outbound, websocket};
use crate::policy::Target;

/// One connection of the guest, and what its requests share.
pub(super) struct Exchange {
    common: Common,
    opened: Opened,
    protocol: Protocol,
    pool: Arc<Pool>,
    /// What is left to do once HTTP is over: a WebSocket's bytes.
    left: Mutex<Option<BoxFuture<'static, ()>>>,
}

/// What a request's head decided: where it goes, and with what.
struct Decided {
    target: Target,
    rewriting: Rewriting,
    upgrade: Option<OnUpgrade>,
    body: BodyPlan,
}

/// Where a request went.
struct Way {
    target: Target,
    address: IpAddr,
}

impl Exchange {
    /// Answers requests of `protocol` on a connection.
    pub(super) fn new(common: Common, opened: Opened, protocol: Protocol, pool: Arc<Pool>) -> Self {
        Self {
            common,
            opened,
            protocol,
            pool,
            left: Mutex::new(None),
        }
    }

    /// What is left to do after the last request.
    pub(super) fn take_left(&self) -> Option<BoxFuture<'static, ()>> {
        self.left
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// A request's answer: the upstream's, or ours that says why not.
    pub(super) async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let mut record = Record::new(&self.common.audit, &parts, self.opened.port);
        let passed = match Arc::clone(&self.common.requests).try_acquire_owned() {
            Ok(place) => {
                let passed = self.pass(parts, body, &mut record).await;
                passed.map(|passed| (passed, place))
            }
            Err(_) => Err(Problem::TooManyRequests),
        };
        match passed {
            Ok(((Passed::Answer(response), _), place)) => {
                let counted = response.map(|body| body.metered(record.down.clone()));
                counted.map(|body| body.keeping(Box::new((record, place))))
            }
            Ok(((Passed::WebSocket(response, socket), way), place)) => {
                record.websocket();
                self.leave(
                    async move {
                        socket.pass(record).await;
                        drop(place);
                    },
                    way,
                );
                response
            }
            Err(problem) => {
                record.fails(&problem);
                problem.response()
            }
        }
    }

    /// Leaves a WebSocket to be served once HTTP is over: until it ends, or the policy refuses where it goes.
    fn leave(&self, served: impl Future<Output = ()> + Send + 'static, way: Way) {
        let outside = Arc::clone(&self.common.outside);
        let left = async move {
            tokio::select! {
                () = served => {}
                () = outside.until_refused(&way.target, Some(way.address)) => {}
            }
        };
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(left));
    }

    async fn pass(
        &self,
        mut head: request::Parts,
        body: Incoming,
        record: &mut Record,
    ) -> Result<(Passed, Way), Problem> {
        match self.decided(&mut head, record).await {
            Ok(decided) => self.sent(head, body, decided, record).await,
            Err(problem) => {
                Box::pin(lingering::drain(&head, body)).await;
                Err(problem)
            }
        }
    }

    /// Checks a head and puts the secrets in.
    async fn decided(
        &self,
        head: &mut request::Parts,
        record: &mut Record,
    ) -> Result<Decided, Problem> {
        let target = asked::target(head, &self.opened)?;
        record.about(&target);
        let allowed = self.common.outside.check(&target);
        allowed.map_err(|refusal| Problem::Policy {
            target: target.clone(),
            refusal,
        })?;
        let mut rewriting = Rewriting::of(&self.common, &self.opened, &target);
        let upgrade = websocket::wanted(head)
            .then(|| head.extensions.remove::<OnUpgrade>())
            .flatten();
        outbound::address(head, &target, &self.opened, self.protocol)?;
        if upgrade.is_some() {
            websocket::ask(&mut head.headers, rewriting.reads_frames());
        }
        let body = rewriting.request(head, &self.common, record).await?;
        Ok(Decided {
            target,
            rewriting,
            upgrade,
            body,
        })
    }

    async fn sent(
        &self,
        head: request::Parts,
        body: Incoming,
        decided: Decided,
        record: &mut Record,
    ) -> Result<(Passed, Way), Problem> {
        let Decided {
            target,
            mut rewriting,
            upgrade,
            body: plan,
        } = decided;
        let bodiless = head.method == Method::HEAD;
        let request =
            outbound::request(head, body, plan, &mut rewriting, &self.common, record).await?;
        record.goes();
        let sent = self.pool.send(&target, self.protocol, request).await;
        let Answer {
            response,
            address,
            driven,
        } = sent.map_err(|error| match error {
            UpstreamError::Http(error) if is_of_body(&error) => Problem::ClientBody,
            error => match self.common.outside.check(&target) {
                Ok(_) => Problem::Upstream {
                    target: target.clone(),
                    error,
                },
                Err(refusal) => Problem::Policy {
                    target: target.clone(),
                    refusal,
                },
            },
        })?;
        record.answered(address);
        if response.status() == StatusCode::UNAUTHORIZED {
            rewriting.refused();
        }
        let passed = inbound::answer(response, driven, rewriting, upgrade, bodiless).await?;
        Ok((passed, Way { target, address }))
    }
}

/// Whether it was the request's body that broke off. To hyper a connection that we end is an error of its user's, too.
fn is_of_body(error: &hyper::Error) -> bool {
    error.source().is_some_and(|cause| cause.is::<BodyError>())
}
