//! A policy that is changed while its sandbox runs.

use std::sync::Arc;

use tokio::sync::watch;

use super::Policy;

/// The policy in force. A clone is another handle of the same one.
#[derive(Debug, Clone)]
pub struct LivePolicy(Arc<watch::Sender<Arc<Policy>>>);

impl LivePolicy {
    /// Begins with this policy.
    pub fn new(policy: Policy) -> Self {
        Self(Arc::new(watch::Sender::new(Arc::new(policy))))
    }

    /// The policy in force now.
    pub fn load(&self) -> Arc<Policy> {
        self.0.borrow().clone()
    }

    /// Puts another policy in force: at once for what begins, and connections that it does not
    /// allow are ended.
    pub fn replace(&self, policy: Policy) {
        self.0.send_replace(Arc::new(policy));
    }

    /// Ends when the policy in force refuses what `allowed` asks.
    pub async fn until_refused(&self, mut allowed: impl FnMut(&Policy) -> bool) {
        let mut changes = self.0.subscribe();
        // The sender is ours, so it cannot be gone.
        let _ = changes.wait_for(|policy| !allowed(policy)).await;
    }
}
