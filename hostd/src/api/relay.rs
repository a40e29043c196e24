//! Streams between a client and an agent: passed on one message at a time, so that neither side can make
//! the other's data pile up here.
//!
//! There are no queues: a message is asked for only when the other side has room for it (HTTP/2 windows at both ends).
//! When the sandbox ends, or the client sends what it may not, both sides learn at once: dropping the call to an agent
//! resets it.

use std::future::Future;
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use tokio::sync::oneshot;
use tonic::{Response, Status, Streaming};

use super::Answers;
use super::status::from_client;
use crate::agent::agent_error;
use crate::error::{Error, Result};
use crate::sandbox::Sandbox;

/// After a connection to an agent breaks, its sandbox's end is noticed within this and is the better reason.
const END_NOTICE: Duration = Duration::from_secs(1);
/// A client that opens a stream has to say what it is about.
const FIRST_MESSAGE_LIMIT: Duration = Duration::from_secs(30);

/// The first message of a client's stream.
pub async fn first<T>(requests: &mut Streaming<T>) -> Result<T, Status> {
    match tokio::time::timeout(FIRST_MESSAGE_LIMIT, requests.message()).await {
        Ok(first) => first
            .map_err(from_client)?
            .ok_or_else(|| Error::invalid("stream", "ended before its first message").into()),
        Err(_) => Err(Error::NoFirstMessage(FIRST_MESSAGE_LIMIT).into()),
    }
}

/// Raised when something is wrong with what the client sends, found while it is being passed on.
pub struct Objection(Option<oneshot::Receiver<Status>>);

impl Objection {
    /// Of a call whose client sends one message only.
    pub fn none() -> Self {
        Self(None)
    }

    /// Waits for one, for ever if there is none. May be called again when cancelled.
    async fn raised(&mut self) -> Status {
        if let Some(objection) = &mut self.0 {
            if let Ok(status) = objection.await {
                return status;
            }
            // The client has finished, and all was well.
            self.0 = None;
        }
        std::future::pending().await
    }
}

/// A client's stream as the agent's requests. At a wrong message or a broken connection the objection is
/// raised and the stream stays open: it must not look as if the client had finished. The call's end then resets it.
pub fn requests<T: Send + 'static, R: Send + 'static>(
    first: R,
    rest: Streaming<T>,
    convert: impl Fn(T) -> Result<R> + Send + 'static,
) -> (impl Stream<Item = R> + Send + 'static, Objection) {
    let (object, objection) = oneshot::channel();
    let converted = rest.map(move |message| {
        let message = message.map_err(from_client)?;
        convert(message).map_err(Status::from)
    });
    let rest = stream::unfold((converted, object), |(mut converted, object)| async move {
        match converted.next().await {
            None => None,
            Some(Ok(request)) => Some((request, (converted, object))),
            Some(Err(status)) => {
                // Nobody listens when the call is over, and then nothing is left to object to.
                let _ = object.send(status);
                std::future::pending().await
            }
        }
    });
    (
        stream::once(async { first }).chain(rest),
        Objection(Some(objection)),
    )
}

/// Waits for an agent's answer, unless the sandbox ends or the client is wrong.
pub async fn answer<T>(
    sandbox: &Sandbox,
    objection: &mut Objection,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    tokio::select! {
        biased;
        answer = answer => match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => Err(explain(sandbox, status).await),
        },
        status = objection.raised() => Err(status),
        error = ended(sandbox) => Err(error.into()),
    }
}

/// An agent's stream of answers as the client's, under the same conditions. It ends after the first error.
pub fn answers<T: Send + 'static>(
    sandbox: Sandbox,
    stream: Streaming<T>,
    objection: Objection,
) -> Answers<T> {
    let next = |state: Option<(Sandbox, Streaming<T>, Objection)>| async move {
        let (sandbox, mut stream, mut objection) = state?;
        let item = tokio::select! {
            biased;
            message = stream.message() => match message {
                Ok(message) => Ok(message?),
                Err(status) => Err(explain(&sandbox, status).await),
            },
            status = objection.raised() => Err(status),
            error = ended(&sandbox) => Err(error.into()),
        };
        let state = item.is_ok().then_some((sandbox, stream, objection));
        Some((item, state))
    };
    Box::pin(stream::unfold(Some((sandbox, stream, objection)), next))
}

async fn ended(sandbox: &Sandbox) -> Error {
    let record = sandbox.ended().await;
    Error::Ended {
        id: record.id.clone(),
        phase: record.phase.clone(),
    }
}

/// Why an agent's call failed: for its own reason, or because its sandbox is no more.
async fn explain(sandbox: &Sandbox, status: Status) -> Status {
    let error = agent_error(status);
    if matches!(error, Error::AgentProtocol(_))
        && let Ok(ended) = tokio::time::timeout(END_NOTICE, ended(sandbox)).await
    {
        return ended.into();
    }
    error.into()
}
