//! Listening to the audit.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};

use super::Decision;

/// A listener.
#[derive(Debug)]
pub struct Subscription(broadcast::Receiver<Arc<Decision>>);

/// What a listener hears.
#[derive(Debug, Clone)]
pub enum Event {
    /// A decision.
    Decision(Arc<Decision>),
    /// So many decisions were lost, because the listener was too slow.
    Lost(u64),
}

impl Subscription {
    pub(super) fn new(receiver: broadcast::Receiver<Arc<Decision>>) -> Self {
        Self(receiver)
    }

    /// The next event; nothing, when the log and all its sandboxes are gone.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(decision) => Some(Event::Decision(decision)),
            Err(RecvError::Lagged(count)) => Some(Event::Lost(count)),
            Err(RecvError::Closed) => None,
        }
    }
}
